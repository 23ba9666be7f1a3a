"""Seccomp rules as a BPF program, by libseccomp: loaded with ctypes, on the first run of a profile only."""

from __future__ import annotations

import ctypes
import os

from ..errors import Error
from ..plan.seccomp import Filter, Rule
from .store import write_whole

NO_SUCH_SYSCALL = -1  # __NR_SCMP_ERROR
EEXIST, EDOM = 17, 33
CTL_OPTIMIZE, BINARY_TREE = 8, 2


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp (seccomp_rule_add(3))."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def library() -> ctypes.CDLL:
    """Return libseccomp with its functions declared. Raises Error when it is not installed."""
    try:
        lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        raise Error("linux.seccomp needs libseccomp, which is not installed") from None
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = (ctypes.c_uint32,)
    lib.seccomp_release.argtypes = (ctypes.c_void_p,)
    lib.seccomp_release.restype = None
    lib.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
    lib.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    lib.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    lib.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    lib.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    lib.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison),
    )  # fmt: skip
    lib.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return lib


def compile_and_keep(wanted: Filter, path: str) -> bytes:
    """Return the program and keep it at `path` for the next time. Raises Error."""
    program = compile_filter(wanted)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    write_whole(path, program, 0o600)
    return program


def compile_filter(wanted: Filter) -> bytes:
    """Return the program of a filter: an array of struct sock_filter. Raises Error."""
    lib = library()
    context = lib.seccomp_init(wanted.default)
    if not context:
        raise Error("linux.seccomp: libseccomp does not know the default action")
    try:
        for name in wanted.architectures:
            add_architecture(lib, context, name)
        lib.seccomp_attr_set(context, CTL_OPTIMIZE, BINARY_TREE)
        for rule in wanted.rules:
            add_rule(lib, context, rule)
        return export(lib, context)
    finally:
        lib.seccomp_release(context)


def add_architecture(lib: ctypes.CDLL, context: int, name: str) -> None:
    """Let the filter cover one more architecture; those that are not named are killed."""
    token = lib.seccomp_arch_resolve_name(name.encode())
    if not token:
        raise Error(f"linux.seccomp.architectures: libseccomp does not know `{name}`")
    check(lib.seccomp_arch_add(context, token), f"architecture `{name}`", EEXIST)


def add_rule(lib: ctypes.CDLL, context: int, rule: Rule) -> None:
    """Add one rule. A system call that this kernel's headers do not know cannot be made, and is left out."""
    comparisons = (Comparison * len(rule.conditions))(*(Comparison(*condition) for condition in rule.conditions))
    for name in rule.names:
        number = lib.seccomp_syscall_resolve_name(name.encode("utf-8", "surrogateescape"))
        if number == NO_SUCH_SYSCALL:
            continue
        result = lib.seccomp_rule_add_array(context, rule.action, number, len(rule.conditions), comparisons)
        # EDOM: the call does not exist on one of the architectures
        check(result, f"system call `{name}`", EEXIST, EDOM)


def export(lib: ctypes.CDLL, context: int) -> bytes:
    """Return the finished program."""
    fd = os.memfd_create("seccomp")
    try:
        check(lib.seccomp_export_bpf(context, fd), "program")
        size = os.lseek(fd, 0, os.SEEK_END)
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def check(result: int, what: str, *harmless: int) -> None:
    """Raise Error when libseccomp answered with a negative errno that is not harmless."""
    if result < 0 and -result not in harmless:
        raise Error(f"linux.seccomp: {what}: {os.strerror(-result)}")

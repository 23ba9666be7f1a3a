"""Seccomp rules as a BPF program, by libseccomp: loaded with ctypes, on the first run of a profile only."""

from __future__ import annotations

import ctypes
import os
from struct import pack

from .. import log
from ..errors import Error, quoted
from ..plan.seccomp import INSTRUCTION, MAX_INSTRUCTIONS, Filter, Rule
from .stateroot import make_root
from .store import write_whole

NO_SUCH_SYSCALL = -1  # __NR_SCMP_ERROR
EEXIST, EDOM, ENOSYS = 17, 33, 38
CTL_OPTIMIZE, BINARY_TREE = 8, 2
ENCODING = ("utf-8", "surrogateescape")

# architectures whose programs one kernel may run, as libseccomp names them; those that are alone are not listed
FAMILIES = (
    "x86_64 x86 x32", "aarch64 arm", "mips64 mips mips64n32", "mipsel64 mipsel mipsel64n32", "ppc64 ppc",
    "s390x s390", "parisc64 parisc",
)  # fmt: skip

# linux/filter.h, linux/bpf_common.h, linux/audit.h
BPF_LD, BPF_JEQ, BPF_JGT, BPF_RET = 0x20, 0x15, 0x25, 0x06
ERRNO = 0x00050000
SCMP_X32, AUDIT_X86_64 = 0x4000003E, 0xC000003E

FIRST_OF_5_1 = b"pidfd_send_signal"
PRIVATE = 0xF0000
NUMBERS = 0xFFFF  # those of new calls lie below; above, x32 begins


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
    lib.seccomp_arch_native.restype = ctypes.c_uint32
    lib.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    lib.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    lib.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison),
    )  # fmt: skip
    lib.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return lib


def library_path() -> bytes:
    """Return where the libseccomp that is loaded lies, b"" when that cannot be told."""
    with open("/proc/self/maps", "rb") as maps:
        lines = [line.rstrip(b"\n").split(maxsplit=5) for line in maps]
    return next((line[5] for line in lines if len(line) == 6 and b"/libseccomp.so." in line[5]), b"")


def keep(path: str, data: bytes) -> None:
    """Keep a program for the next time, where that is possible: `plan` may be asked by someone who may not write."""
    try:
        directory = os.path.dirname(path)
        make_root(os.path.dirname(directory))
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700)
        write_whole(path, data, 0o600)
    except (OSError, Error) as error:
        log.debug(f"the seccomp program is not kept: {error}")


def compile_filter(wanted: Filter) -> bytes:
    """Return the program of a filter: an array of struct sock_filter. Raises Error."""
    lib = library()
    context = lib.seccomp_init(wanted.default)
    if not context:
        raise Error("linux.seccomp: libseccomp does not know the default action")
    try:
        native = lib.seccomp_arch_native()
        tokens = {native: None}
        for name in wanted.architectures:
            token = lib.seccomp_arch_resolve_name(name.encode())
            if token in relatives(lib, native):
                check(lib.seccomp_arch_add(context, token), f"architecture `{name}`", EEXIST)
                tokens[token] = None
        lib.seccomp_attr_set(context, CTL_OPTIMIZE, BINARY_TREE)
        for rule in wanted.rules:
            add_rule(lib, context, rule, wanted.whole)
        newer = refuse_newer([newest(lib, token, wanted.known) for token in tokens]) if wanted.denies_the_new else b""
        program = newer + export(lib, context)
    finally:
        lib.seccomp_release(context)
    if len(program) > MAX_INSTRUCTIONS * INSTRUCTION:
        raise Error(f"linux.seccomp: {len(program) // INSTRUCTION} instructions, the kernel takes {MAX_INSTRUCTIONS}")
    return program


def relatives(lib: ctypes.CDLL, native: int) -> set[int]:
    """Return the architectures in which a call can be made on this machine.

    The others of a section would only make its program longer: with all of them it is too long for the kernel. One
    that is named and that libseccomp does not know is none of this machine's either.
    """
    families = ({lib.seccomp_arch_resolve_name(name.encode()) for name in family.split()} for family in FAMILIES)
    return next((family for family in families if native in family), {native}) - {0}


# -- what is newer than the section


def newest(lib: ctypes.CDLL, token: int, names: list[str]) -> tuple[int, int]:
    """Return the architecture as the kernel tells it to a filter, and the highest number in it that is not new.

    What the section names is not new, nor is what is older than Linux 5.1, which began to number the calls of all
    architectures alike.
    """
    numbers = [lib.seccomp_syscall_resolve_name_arch(token, name.encode(*ENCODING)) for name in names]
    numbers.append(lib.seccomp_syscall_resolve_name_arch(token, FIRST_OF_5_1) - 1)
    # the private calls of arm have numbers far above
    highest = max(number for number in numbers if not number & PRIVATE)
    return AUDIT_X86_64 if token == SCMP_X32 else token & 0xFFFFFFFF, highest


def refuse_newer(limits: list[tuple[int, int]]) -> bytes:
    """Return instructions to stand before a program: ENOSYS for calls that are newer than the section.

    Programs try the newest call first, and take the way of older kernels at ENOSYS alone. A section cannot have
    decided on a call that its author did not know; that it denies it stays true.
    """
    load_architecture, load_number = (BPF_LD, 0, 0, 4), (BPF_LD, 0, 0, 0)
    parts: list[tuple[int, int, int, int]] = []
    for architecture, highest in limits:
        parts += [
            load_architecture,
            (BPF_JEQ, 0, 4, architecture),
            load_number,
            (BPF_JGT, 0, 2, highest),
            (BPF_JGT, 1, 0, highest | NUMBERS),
            (BPF_RET, 0, 0, ERRNO | ENOSYS),
        ]
    return b"".join(pack("=HBBI", *part) for part in parts)


def add_rule(lib: ctypes.CDLL, context: int, rule: Rule, whole: bool) -> None:
    """Add one rule. A system call that this kernel's headers do not know cannot be made, and is left out.

    Raises Error, also for such a call when the filter is to be `whole`.
    """
    comparisons = (Comparison * len(rule.conditions))(*(Comparison(*condition) for condition in rule.conditions))
    for name in rule.names:
        number = lib.seccomp_syscall_resolve_name(name.encode(*ENCODING))
        if number == NO_SUCH_SYSCALL:
            if whole:
                raise Error(f"linux.seccomp: unknown system call {quoted(name)}")
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

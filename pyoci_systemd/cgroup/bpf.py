"""A cgroup device program put to work (bpf(2)). By ctypes: nothing else in the library can make that system call."""

from __future__ import annotations

import ctypes
import os

from ..errors import Error, because

NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
PROG_LOAD, PROG_ATTACH = 5, 8
TYPE_CGROUP_DEVICE, ATTACH_CGROUP_DEVICE, ALLOW_MULTI = 15, 6, 2
UNION = 128  # bytes of union bpf_attr that we hand over; the kernel takes the rest as zero


class Load(ctypes.Structure):
    """The part of union bpf_attr for BPF_PROG_LOAD."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * (UNION - 24)),
    )


class Attach(ctypes.Structure):
    """The part of union bpf_attr for BPF_PROG_ATTACH."""

    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * (UNION - 16)),
    )


def bpf(command: int, attributes: ctypes.Structure, what: str) -> int:
    """Make the system call. Raises Error."""
    number = NUMBERS.get(os.uname().machine)
    if number is None:
        raise Error(f"{what}: the number of bpf(2) is not known for {os.uname().machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(
        ctypes.c_long(number), ctypes.c_int(command), ctypes.byref(attributes), ctypes.c_uint(UNION)
    )
    if result < 0:
        code = ctypes.get_errno()
        raise because(what, OSError(code, os.strerror(code)))
    return result


def attach(cgroup: str, program: bytes) -> None:
    """Have every access to a device from below `cgroup` decided by `program` too. Raises Error."""
    what = f"cannot restrict devices in `{cgroup}`"
    code, license_text = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"GPL")
    load = Load(TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(code), ctypes.addressof(license_text))
    loaded = bpf(PROG_LOAD, load, what)
    try:
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # the cgroup keeps the program from here on, as long as it lives
            bpf(PROG_ATTACH, Attach(target, loaded, ATTACH_CGROUP_DEVICE, ALLOW_MULTI), what)
        finally:
            os.close(target)
    finally:
        os.close(loaded)

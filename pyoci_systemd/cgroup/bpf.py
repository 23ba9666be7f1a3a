"""Cgroup device programs put to work (bpf(2)). By ctypes: nothing else in the library can make that system call.

A program is attached to the directory of a cgroup, beside systemd's own, and an access is let through when all of them
let it. The cgroup keeps it, whatever systemd does to the unit, and when the cgroup goes the program goes.
"""

from __future__ import annotations

import ctypes
import os
from _struct import pack, unpack_from
from errno import ENOSYS

from ..errors import because
from ..record import Record

NUMBERS = {
    "x86_64": 321, "i686": 357, "aarch64": 280, "armv7l": 386, "riscv64": 280, "loongarch64": 280, "ppc64le": 361,
    "s390x": 351,
}  # fmt: skip
# enum bpf_cmd (linux/bpf.h)
PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_QUERY = 5, 8, 9, 13, 15, 16
TYPE_CGROUP_DEVICE, ATTACH_CGROUP_DEVICE, ALLOW_MULTI = 15, 6, 2
UNION = 128  # bytes of union bpf_attr that we hand over; the kernel takes the rest as zero
MOST = 64  # programs of one cgroup, as many as the kernel allows
NAME = b"pyoci_devices"  # by which we know ours; 15 bytes at most
INFO, NAME_AT = 80, 64  # struct bpf_prog_info, as far as the name
TAG = slice(8, 16)  # in it, after the type and the id
COUNT_AT = 24  # of union bpf_attr, query.prog_cnt
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Make the system call. Returns its result and the attributes as the kernel leaves them. Raises OSError."""
    union = ctypes.create_string_buffer(attributes, UNION)
    number = NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(ENOSYS, "")
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), ctypes.c_int(command), union, ctypes.c_uint(UNION))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result, union.raw


def load(program: bytes) -> int:
    """Return a descriptor of the program, judged by the kernel; it restricts nothing yet. Raises Error."""
    code, license_text = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"GPL")
    where = ctypes.addressof(code), ctypes.addressof(license_text)
    try:
        return bpf(PROG_LOAD, pack("=IIQQ24x16s", TYPE_CGROUP_DEVICE, len(program) // 8, *where, NAME))[0]
    except OSError as error:
        raise because("cannot restrict devices by a program", error) from None


def attach(cgroup: str, program: int) -> None:
    """Have every access to a device from below `cgroup` decided by the program too. Raises Error."""
    _change(PROG_ATTACH, cgroup, program, ALLOW_MULTI)


def detach(cgroup: str, program: int) -> None:
    """Have the program decide no more. Raises Error."""
    _change(PROG_DETACH, cgroup, program, 0)


def _change(command: int, cgroup: str, program: int, flags: int) -> None:
    try:
        target = os.open(cgroup, DIRECTORY)
        try:
            bpf(command, pack("=IIII", target, program, ATTACH_CGROUP_DEVICE, flags))
        finally:
            os.close(target)
    except OSError as error:
        raise because(f"cannot restrict devices in `{cgroup}`", error) from None


def attached(cgroup: str) -> list[int]:
    """Return descriptors of our programs on `cgroup` itself. Raises Error."""
    found = _programs(cgroup)
    for program in found:
        if not program.ours:
            os.close(program.fd)
    return [program.fd for program in found if program.ours]


def seen(cgroup: str) -> list[tuple[bool, bytes]]:
    """Return of each program on `cgroup` itself whether it is ours, and its tag of eight bytes. Raises Error."""
    found = _programs(cgroup)
    for program in found:
        os.close(program.fd)
    return [(program.ours, program.tag) for program in found]


def tags(program: bytes) -> set[bytes]:
    """Return what the kernel may tag a program with: it has no maps.

    That is the head of its SHA-1, and of its SHA-256 since Linux 6.18 (bpf_prog_calc_tag()).
    """
    import hashlib

    return {hashlib.sha1(program).digest()[:8], hashlib.sha256(program).digest()[:8]}


class Program(Record):
    """A program that is attached, by a descriptor of it."""

    fd: int
    ours: bool
    tag: bytes


def _programs(cgroup: str) -> list[Program]:
    ids = (ctypes.c_uint32 * MOST)()
    try:
        target = os.open(cgroup, DIRECTORY)
        try:
            query = pack("=IIIIQI", target, ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), MOST)
            _, answer = bpf(PROG_QUERY, query)
        finally:
            os.close(target)
        found = [_program(number) for number in ids[: unpack_from("=I", answer, COUNT_AT)[0]]]
    except OSError as error:
        raise because(f"cannot see what restricts devices in `{cgroup}`", error) from None
    return [program for program in found if program]


def _program(number: int) -> Program | None:
    """Return the program with this id, None when systemd has just replaced it by another. Raises OSError."""
    try:
        fd, _ = bpf(PROG_GET_FD_BY_ID, pack("=I", number))
    except FileNotFoundError:
        return None
    info = ctypes.create_string_buffer(INFO)
    try:
        bpf(OBJ_GET_INFO_BY_FD, pack("=IIQ", fd, INFO, ctypes.addressof(info)))
    except OSError:
        os.close(fd)
        raise
    return Program(fd, info.raw[NAME_AT:].rstrip(b"\0") == NAME, info.raw[TAG])

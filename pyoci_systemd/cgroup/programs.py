"""The device programs that a cgroup has (bpf(2)): how many, and whether one of ours is among them."""

from __future__ import annotations

import ctypes
import os

from ..errors import because
from .bpf import ATTACH_CGROUP_DEVICE, UNION, bpf

PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_QUERY = 13, 15, 16
MOST_PROGRAMS = 64  # the kernel's BPF_CGROUP_MAX_PROGS
TAG = slice(8, 16)  # in struct bpf_prog_info, after the type and the id


class Query(ctypes.Structure):
    """The part of union bpf_attr for BPF_PROG_QUERY."""

    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64),
        ("prog_cnt", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * (UNION - 28)),
    )


class ById(ctypes.Structure):
    """The part of union bpf_attr for BPF_PROG_GET_FD_BY_ID."""

    _fields_ = (("prog_id", ctypes.c_uint32), ("rest", ctypes.c_uint8 * (UNION - 4)))


class Info(ctypes.Structure):
    """The part of union bpf_attr for BPF_OBJ_GET_INFO_BY_FD."""

    _fields_ = (
        ("bpf_fd", ctypes.c_uint32),
        ("info_len", ctypes.c_uint32),
        ("info", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * (UNION - 16)),
    )


def attached(cgroup: str) -> list[bytes]:
    """Return the tags of the device programs attached to `cgroup` itself, each eight bytes. Raises Error."""
    what = f"cannot see who restricts devices in `{cgroup}`"
    ids = (ctypes.c_uint32 * MOST_PROGRAMS)()
    try:
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise because(what, error) from None
    try:
        query = Query(target, ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), MOST_PROGRAMS)
        bpf(PROG_QUERY, query, what)
    finally:
        os.close(target)
    return [_tag(number, what) for number in ids[: query.prog_cnt]]


def _tag(number: int, what: str) -> bytes:
    program = bpf(PROG_GET_FD_BY_ID, ById(number), what)
    try:
        info = ctypes.create_string_buffer(TAG.stop)
        bpf(OBJ_GET_INFO_BY_FD, Info(program, TAG.stop, ctypes.addressof(info)), what)
        return info.raw[TAG]
    finally:
        os.close(program)


def tags(program: bytes) -> set[bytes]:
    """Return what the kernel may call a program without maps.

    That is the head of its SHA-1, and of its SHA-256 since Linux 6.18 (bpf_prog_calc_tag()).
    """
    import hashlib

    return {hashlib.sha1(program).digest()[:8], hashlib.sha256(program).digest()[:8]}

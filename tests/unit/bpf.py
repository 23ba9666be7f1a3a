"""Two small machines that run what the kernel would: a seccomp filter, and a program that decides on devices."""

from __future__ import annotations

import struct

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7  # linux/audit.h
X32 = 0x40000000


def seccomp(program: bytes, number: int, *args: int, arch: int = X86_64) -> int:
    """Return what a filter answers for a system call (seccomp(2)): classic BPF over struct seccomp_data."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
    code: list[tuple[int, int, int, int]] = list(struct.iter_unpack("=HBBI", program))
    accumulator, index, scratch, at = 0, 0, [0] * 16, 0
    for _ in range(10_000):
        kind, if_true, if_false, k = code[at]
        at += 1
        other = index if kind & 0x08 else k
        if kind == 0x20:  # ld [k]
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif kind in (0x00, 0x01):  # ld #k, ldx #k
            accumulator, index = (k, index) if kind == 0 else (accumulator, k)
        elif kind == 0x60:  # ld M[k]
            accumulator = scratch[k]
        elif kind == 0x02:  # st M[k]
            scratch[k] = accumulator
        elif kind in (0x54, 0x5C):  # and
            accumulator &= other
        elif kind == 0x05:  # ja
            at += k
        elif kind & 0x07 == 0x05:
            verdict = {
                0x10: accumulator == other, 0x20: accumulator > other, 0x30: accumulator >= other, 0x40: bool(accumulator & other),
            }[kind & 0xF0]  # fmt: skip
            at += if_true if verdict else if_false
        elif kind == 0x06:  # ret #k
            return k
        elif kind == 0x16:  # ret a
            return accumulator
        elif kind == 0x07:  # tax
            index = accumulator
        elif kind == 0x87:  # txa
            accumulator = index
        else:
            raise AssertionError(f"instruction {at - 1}: unknown code {kind:#x}")
    raise AssertionError("the program does not end")


def device(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """Say whether a program lets a device be used (linux/bpf.h): eBPF over struct bpf_cgroup_dev_ctx."""
    asked = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = struct.pack("=III", asked << 16 | {"b": 1, "c": 2}[kind], major, minor)
    code = list(struct.iter_unpack("<BBhi", program))
    registers = [0] * 11
    at = 0
    while True:
        assert 0 <= at < len(code), "a jump out of the program"
        kind_, both, offset, value = code[at]
        to, source = both & 15, both >> 4
        at += 1
        if kind_ == 0x61:  # r = *(u32 *)(context + offset)
            assert source == 1, "only the context is read"
            (registers[to],) = struct.unpack_from("=I", context, offset)
        elif kind_ == 0xB7:
            registers[to] = value & 2**64 - 1
        elif kind_ == 0xBF:
            registers[to] = registers[source]
        elif kind_ == 0x54:
            registers[to] = registers[to] & value & 2**32 - 1
        elif kind_ == 0x74:
            registers[to] = (registers[to] & 2**32 - 1) >> value
        elif kind_ == 0x05:
            at += offset
        elif kind_ == 0x55:
            at += offset if registers[to] != value & 2**64 - 1 else 0
        elif kind_ == 0x45:
            at += offset if registers[to] & value else 0
        elif kind_ == 0x95:
            assert registers[0] in (0, 1)
            return registers[0] == 1
        else:
            raise AssertionError(f"instruction {at - 1}: unknown code {kind_:#x}")
        assert offset >= 0, "a jump backwards"

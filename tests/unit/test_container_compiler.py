"""Seccomp programs by libseccomp: compiled here, run by a small machine, and asked for their verdicts."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd.container import compiler, filters
from pyoci_systemd.errors import Error
from pyoci_systemd.plan.seccomp import make_filter
from pyoci_systemd.spec.load import load
from tests.unit import bpf
from tests.unit.good_configs import seccomp
from tests.unit.plans import config

try:
    ctypes.CDLL("libseccomp.so.2")
except OSError:
    pytest.skip("libseccomp is not installed", allow_module_level=True)

ALLOW, KILL, LOG = 0x7FFF0000, 0, 0x7FFC0000
KILLED = (0, 0x80000000)


def errno(number: int) -> int:
    return 0x50000 | number


# x86_64: read write mmap clone socket kill personality mount bpf
READ, WRITE, MMAP, SOCKET, CLONE, KILL_CALL, PERSONALITY, MOUNT, BPF = 0, 1, 9, 41, 56, 62, 135, 165, 321


@pytest.fixture(scope="module")
def docker_like() -> bytes:
    return compiler.compile_filter(make_filter(seccomp()))  # type: ignore[arg-type]


@pytest.mark.parametrize(("call", "args", "verdict"), [
    (READ, (), ALLOW), (WRITE, (1, 2, 3), ALLOW), (MMAP, (), ALLOW), (SOCKET, (), ALLOW), (KILL_CALL, (), ALLOW),
    (MOUNT, (), errno(1)), (BPF, (), errno(1)),
    (PERSONALITY, (0xFFFFFFFF,), ALLOW),
    (PERSONALITY, (0x20008,), errno(38)),
    (PERSONALITY, (0x1FFFFFFFF,), errno(38)),  # both halves of the argument are compared
    (CLONE, (0,), ALLOW),
    (CLONE, (0x11,), ALLOW),
    (CLONE, (0x20000,), errno(38)),  # CLONE_NEWNS
    (CLONE, (0x10000000 | 0x11,), errno(38)),  # CLONE_NEWUSER
    (999, (), errno(38)),  # a call of a kernel to come
    (2**31, (), errno(38)),
])  # fmt: skip
def test_verdict(docker_like: bytes, call: int, args: tuple[int, ...], verdict: int) -> None:
    assert bpf.seccomp(docker_like, call, *args) == verdict


def test_other_architectures(docker_like: bytes) -> None:
    """Those of the profile have its rules by their own numbers, all others are killed (P8)."""
    assert bpf.seccomp(docker_like, 3, arch=bpf.I386) == ALLOW  # read
    assert bpf.seccomp(docker_like, 21, arch=bpf.I386) == errno(1)  # mount
    assert bpf.seccomp(docker_like, bpf.X32 | READ) == ALLOW
    assert bpf.seccomp(docker_like, bpf.X32 | MOUNT) == errno(1)
    assert bpf.seccomp(docker_like, READ, arch=bpf.AARCH64) in KILLED
    profile: Any = {**seccomp(), "architectures": []}
    native = compiler.compile_filter(make_filter(profile))
    assert bpf.seccomp(native, READ) == ALLOW
    assert bpf.seccomp(native, 3, arch=bpf.I386) in KILLED
    assert bpf.seccomp(native, bpf.X32 | READ) in (*KILLED, errno(38))


def compiled(default: str, *calls: Any) -> bytes:
    return compiler.compile_filter(make_filter({"defaultAction": default, "syscalls": list(calls)}))


def call(name: str, action: str, *args: Any, **more: Any) -> Any:
    return {"names": [name], "action": action, "args": list(args), **more}


def arg(index: int, op: str, value: int, two: int = 0) -> Any:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}


@pytest.mark.parametrize(("op", "value", "two", "fits", "fits_not"), [
    ("EQ", 5, 0, [5], [4, 6, 5 | 1 << 32]),
    ("NE", 5, 0, [4, 6, 5 | 1 << 32], [5]),
    ("LT", 5, 0, [0, 4], [5, 6, 1 << 32]),
    ("LE", 5, 0, [0, 5], [6, 1 << 32]),
    ("GT", 5, 0, [6, 1 << 32], [0, 5]),
    ("GE", 5, 0, [5, 6, 1 << 32], [0, 4]),
    ("MASKED_EQ", 6, 4, [4, 5, 12], [0, 2, 6]),
])  # fmt: skip
def test_comparison(op: str, value: int, two: int, fits: list[int], fits_not: list[int]) -> None:
    program = compiled("SCMP_ACT_ALLOW", call("read", "SCMP_ACT_ERRNO", arg(1, op, value, two), errnoRet=7))
    assert [bpf.seccomp(program, READ, 99, value) for value in fits] == [errno(7)] * len(fits)
    assert [bpf.seccomp(program, READ, 99, value) for value in fits_not] == [ALLOW] * len(fits_not)


def test_conditions_on_two_arguments_are_joined_and_on_one_are_alternatives() -> None:
    both = compiled("SCMP_ACT_ALLOW", call("socket", "SCMP_ACT_ERRNO", arg(0, "EQ", 16), arg(2, "EQ", 9), errnoRet=22))
    assert [bpf.seccomp(both, SOCKET, *args) for args in ((16, 0, 9), (16, 0, 8), (1, 0, 9))] == [
        errno(22),
        ALLOW,
        ALLOW,
    ]
    either = compiled("SCMP_ACT_ERRNO", call("socket", "SCMP_ACT_ALLOW", arg(0, "EQ", 1), arg(0, "EQ", 2)))
    assert [bpf.seccomp(either, SOCKET, family) for family in (1, 2, 3)] == [ALLOW, ALLOW, errno(1)]


def test_unknown_system_call_is_left_out() -> None:
    program = compiled("SCMP_ACT_ALLOW", call("no_such_call", "SCMP_ACT_ERRNO"), call("read", "SCMP_ACT_LOG"))
    assert (bpf.seccomp(program, READ), bpf.seccomp(program, WRITE)) == (LOG, ALLOW)


def test_architectures_that_are_not_this_machine_s() -> None:
    """They would make the program longer, and no call can be made in them; libseccomp may not know each."""
    names = [f"SCMP_ARCH_{name}" for name in ("X32", "X86", "S390X", "AARCH64", "LOONGARCH64", "PDP11")]
    profile: Any = seccomp()
    mixed, own = ({**profile, "architectures": architectures} for architectures in (names, names[:2]))
    assert compiler.compile_filter(make_filter(mixed)) == compiler.compile_filter(make_filter(own))  # type: ignore[arg-type]


def test_program_that_is_too_long() -> None:
    """The kernel counts its instructions in 16 bits, and takes 4096 of them."""
    calls = [call("mount", "SCMP_ACT_ERRNO", arg(0, "EQ", number), arg(1, "EQ", number)) for number in range(700)]
    with pytest.raises(Error, match=r"linux\.seccomp: \d{4,} instructions, the kernel takes 4096"):
        compiled("SCMP_ACT_ALLOW", *calls)


NAMED = [{"names": ["read", "close_range"], "action": "SCMP_ACT_ALLOW"}]  # close_range: 436


@pytest.mark.parametrize(("number", "architecture", "verdict"), [
    (0, bpf.X86_64, ALLOW), (1, bpf.X86_64, errno(1)), (334, bpf.X86_64, errno(1)),
    (424, bpf.X86_64, errno(1)), (435, bpf.X86_64, errno(1)), (436, bpf.X86_64, ALLOW), (437, bpf.X86_64, errno(38)),
    (0xFFFF, bpf.X86_64, errno(38)), (0x10000, bpf.X86_64, errno(1)), (0x3FFFFFFF, bpf.X86_64, errno(1)),
    (3, bpf.I386, ALLOW), (4, bpf.I386, errno(1)), (436, bpf.I386, ALLOW), (437, bpf.I386, errno(38)),
    (bpf.X32, bpf.X86_64, ALLOW), (bpf.X32 | 1, bpf.X86_64, errno(1)), (bpf.X32 | 436, bpf.X86_64, ALLOW),
    (bpf.X32 | 437, bpf.X86_64, errno(38)),
    (437, bpf.AARCH64, 0),
])  # fmt: skip
def test_calls_that_are_newer_than_the_profile(number: int, architecture: int, verdict: int) -> None:
    profile: Any = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    program = compiler.compile_filter(make_filter({**profile, "syscalls": NAMED}))  # type: ignore[typeddict-item]
    assert bpf.seccomp(program, number, arch=architecture) == verdict


@pytest.mark.parametrize(("number", "verdict"), [(423, errno(1)), (424, errno(38)), (0x7FFF, errno(38))])
def test_calls_before_linux_5_1_are_not_new(number: int, verdict: int) -> None:
    """A short profile need not name one of each year to be taken at its word."""
    assert bpf.seccomp(compiled("SCMP_ACT_ERRNO", call("read", "SCMP_ACT_ALLOW")), number) == verdict


def test_calls_of_an_architecture_without_rules_are_killed_even_if_new() -> None:
    program = compiled("SCMP_ACT_ERRNO", *NAMED)
    assert bpf.seccomp(program, 500, arch=bpf.I386) in KILLED
    assert bpf.seccomp(program, bpf.X32 | 500) in KILLED


def test_program_is_kept_and_found_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = {"linux": {"seccomp": seccomp()}}
    first, flags = filters.program(config, str(tmp_path))
    (kept,) = (tmp_path / ".seccomp").iterdir()
    checksum, maker, made = kept.read_bytes()[:32], *kept.read_bytes()[32:].split(b"\n", 1)
    assert len(checksum) == 32
    assert b"/libseccomp.so." in maker
    assert made == first
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    monkeypatch.setattr(compiler, "compile_filter", lambda _: pytest.fail("compiled again"))
    assert filters.program(config, str(tmp_path)) == (first, flags)


def test_call_that_nobody_knows(tmp_path: pathlib.Path) -> None:
    """Left out, unless the annotation wants it known; a program that was made without it is no excuse."""
    calls = [call("mkdir", "SCMP_ACT_ERRNO"), call("mkdür", "SCMP_ACT_ERRNO")]
    config: Any = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}}}
    assert filters.program(config, str(tmp_path))[0]
    config["annotations"] = {"run.oci.seccomp_fail_unknown_syscall": "1"}
    for _ in range(2):
        with pytest.raises(Error) as caught:
            filters.program(config, str(tmp_path))
        assert caught.value.message == 'linux.seccomp: unknown system call "mkd\\xfcr"'
    calls.pop()
    assert filters.program(config, str(tmp_path))[0]


def test_another_profile_is_another_program(tmp_path: pathlib.Path) -> None:
    config: Any = {"linux": {"seccomp": seccomp()}}
    first = filters.program(config, str(tmp_path))
    config["linux"]["seccomp"]["defaultErrnoRet"] = 1
    assert filters.program(config, str(tmp_path)) != first
    assert filters.program({"linux": {}}, str(tmp_path)) == (b"", 0)  # type: ignore[typeddict-item]


@pytest.mark.parametrize("damage", [
    lambda kept: b"", lambda kept: bytes(7), lambda kept: bytes(32), lambda kept: bytes(40), lambda kept: kept[:-8],
    lambda kept: kept[:-1] + b"\1", lambda kept: kept[32:], lambda kept: kept + bytes(8),
])  # fmt: skip
def test_damaged_program_is_not_loaded(damage: Callable[[bytes], bytes], tmp_path: pathlib.Path) -> None:
    """What was cut short must not become a container without a filter; it is made anew."""
    config: Any = {"linux": {"seccomp": seccomp()}}
    first = filters.program(config, str(tmp_path))
    (kept,) = (tmp_path / ".seccomp").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert filters.program(config, str(tmp_path)) == first
    assert kept.read_bytes() == whole


def test_program_of_another_libseccomp_is_not_used(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been upgraded because it was wrong, or may now know a call that a profile forbids."""
    config: Any = {"linux": {"seccomp": seccomp()}}
    library = tmp_path / "libseccomp.so.2.9"
    library.touch()
    monkeypatch.setattr(compiler, "library_path", lambda: str(library).encode())
    made = []
    monkeypatch.setattr(compiler, "compile_filter", lambda wanted: made.append(1) or bytes(8))  # type: ignore[func-returns-value]
    for times in (1, 2):
        os.utime(library, (times, times))
        filters.program(config, str(tmp_path))
        filters.program(config, str(tmp_path))
        assert len(made) == times
    library.unlink()
    filters.program(config, str(tmp_path))
    assert len(made) == 3


def test_program_of_another_profile_is_not_used(tmp_path: pathlib.Path) -> None:
    """Whatever it is called."""
    config: Any = {"linux": {"seccomp": seccomp()}}
    allowing: Any = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}
    first, _ = filters.program(config, str(tmp_path))
    (kept,) = (tmp_path / ".seccomp").iterdir()
    filters.program(allowing, str(tmp_path))
    (other,) = {*(tmp_path / ".seccomp").iterdir()} - {kept}
    other.rename(kept)
    assert filters.program(config, str(tmp_path))[0] == first


def test_a_program_that_cannot_be_kept_is_used_all_the_same(tmp_path: pathlib.Path) -> None:
    config: Any = {"linux": {"seccomp": seccomp()}}
    (tmp_path / "file").touch()
    assert filters.program(config, str(tmp_path / "file")) == filters.program(config, str(tmp_path))


def test_kept_program_costs_little(tmp_path: pathlib.Path) -> None:
    """What a profile of the usual size adds to every run but the first: 0.7 ms where this was written, most of it JSON."""
    profile: Any = seccomp()
    profile["syscalls"][0]["names"] += [f"call_{number}" for number in range(250)]
    texts = [json.dumps(config(linux=linux)).encode() for linux in ({}, {"seccomp": profile})]

    def seconds(text: bytes) -> float:
        begun = time.thread_time()  # what others take of the processor does not count
        filters.program(load(text), str(tmp_path))
        return time.thread_time() - begun

    without, with_filter = (min(seconds(text) for _ in range(40)) for text in texts)
    assert with_filter - without < 0.003

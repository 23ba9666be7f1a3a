"""Scheduler, I/O priority, affinity and memory policy: the config's words as the kernel's numbers."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import entry, ops, scheduling
from pyoci_systemd.plan.facts import Door
from pyoci_systemd.spec import numbers
from tests.unit.plans import config, facts, names

FIELDS = ("size", "policy", "flags", "nice", "priority", "runtime", "deadline", "period", "util_min", "util_max")


def scheduler(**asked: Any) -> dict[str, int]:
    (op,) = scheduling.priorities({"cwd": "/", "args": [], "scheduler": asked})  # type: ignore[typeddict-item]
    assert isinstance(op, ops.Scheduler)
    assert op.pid == 0
    # linux/sched/types.h, struct sched_attr: SCHED_ATTR_SIZE_VER1
    assert len(op.attributes) == 56
    return dict(zip(FIELDS, struct.unpack("=IIQiIQQQII", op.attributes)))


@pytest.mark.parametrize(("asked", "numbers"), [
    # linux/sched.h
    ({"policy": "SCHED_OTHER"}, {"policy": 0}),
    ({"policy": "SCHED_OTHER", "nice": -20}, {"policy": 0, "nice": -20}),
    ({"policy": "SCHED_FIFO", "priority": 99}, {"policy": 1, "priority": 99}),
    ({"policy": "SCHED_RR", "priority": 1}, {"policy": 2, "priority": 1}),
    ({"policy": "SCHED_BATCH", "nice": 19}, {"policy": 3, "nice": 19}),
    ({"policy": "SCHED_IDLE"}, {"policy": 5}),
    ({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2**40, "period": 2**63 - 1},
     {"policy": 6, "runtime": 1024, "deadline": 2**40, "period": 2**63 - 1}),
    *(({"policy": "SCHED_OTHER", "flags": [f"SCHED_FLAG_{flag}"]}, {"policy": 0, "flags": 1 << bit}) for bit, flag in enumerate(
        "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX".split())),
    ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_RECLAIM"]}, {"policy": 0, "flags": 2}),
])  # fmt: skip
def test_scheduler(asked: Any, numbers: dict[str, int]) -> None:
    nothing = dict.fromkeys(FIELDS, 0)
    assert scheduler(**asked) == {**nothing, "size": 56, "util_max": 1024, **numbers}


@pytest.mark.parametrize(("kind", "number"), [("RT", 1), ("BE", 2), ("IDLE", 3)])
def test_io_priority(kind: str, number: int) -> None:
    """linux/ioprio.h: the class in the bits from 13 on."""
    asked: Any = {"ioPriority": {"class": f"IOPRIO_CLASS_{kind}", "priority": 7}}
    assert scheduling.priorities(asked) == [ops.IoPriority(0, number * 8192 + 7)]


def test_nothing_asked() -> None:
    assert scheduling.priorities({"cwd": "/", "args": []}) == []
    assert scheduling.memory(config()) == []


@pytest.mark.parametrize(("mode", "nodes", "flags", "number", "mask"), [
    # linux/mempolicy.h
    ("DEFAULT", None, None, 0, b""),
    ("PREFERRED", "1", [], 1, b"\2"),
    ("PREFERRED", "", [], 1, b""),
    ("BIND", "0-1", ["STATIC_NODES"], 2 | 1 << 15, b"\3"),
    ("INTERLEAVE", " 0, 63 ", ["RELATIVE_NODES"], 3 | 1 << 14, b"\1" + bytes(6) + b"\x80"),
    ("LOCAL", None, None, 4, b""),
    ("PREFERRED_MANY", "64", ["NUMA_BALANCING"], 5 | 1 << 13, bytes(8) + b"\1"),
    ("WEIGHTED_INTERLEAVE", "0", None, 6, b"\1"),
])  # fmt: skip
def test_memory_policy(mode: str, nodes: str | None, flags: list[str] | None, number: int, mask: bytes) -> None:
    asked: dict[str, Any] = {"mode": f"MPOL_{mode}"}
    asked |= {} if nodes is None else {"nodes": nodes}
    asked |= {} if flags is None else {"flags": [f"MPOL_F_{flag}" for flag in flags]}
    (op,) = scheduling.memory(config(linux={"memoryPolicy": asked}))
    assert isinstance(op, ops.MemoryPolicy)
    # get_bitmap() of the kernel reads whole words of 64 bits
    assert len(op.nodes) % 8 == 0
    assert (op.memory_mode, op.nodes.rstrip(b"\0")) == (number, mask)


# -- lists


@pytest.mark.parametrize(("text", "mask"), [
    ("0", 1), ("0-3,7", 0x8F), (" 1 , 3 ", 0xA), ("7,0-1,1", 0x83), ("1023", 1 << 1023), ("5-5", 32), ("00", 1),
])  # fmt: skip
def test_list(text: str, mask: int) -> None:
    assert numbers.bits(text, 1024) == mask


@pytest.mark.parametrize(
    "text",
    ["", " ", ",", "1,", "-1", "1-", "2-1", "1024", "0-1024", "1 2", "1-2-3", "+1", "1_0", "１", "0x1", "9" * 4000],
)
def test_no_list(text: str) -> None:  # fmt: skip
    assert numbers.bits(text, 1024) == -1


@pytest.mark.parametrize(
    ("mask", "text"), [(1, "0"), (0x8F, "0-3, 7"), (0xA, "1, 3"), (1 << 70 | 3 << 71, "70-72"), (0, "")]
)
def test_list_is_said(mask: int, text: str) -> None:
    assert numbers.said(mask) == text


# -- exec


@pytest.mark.parametrize(("asked", "before", "after"), [
    ({}, [], [ops.EveryCpu()]),
    ({"initial": "0"}, [ops.CpuAffinity(b"\1")], [ops.EveryCpu()]),
    ({"final": "8"}, [], [ops.CpuAffinity(b"\0\1")]),
    ({"initial": "0-2", "final": "1,3"}, [ops.CpuAffinity(b"\7")], [ops.CpuAffinity(b"\x0a")]),
    ({"initial": "", "final": ""}, [], [ops.EveryCpu()]),
])  # fmt: skip
def test_affinity_of_exec(asked: Any, before: list[ops.Op], after: list[ops.Op]) -> None:
    process: Any = {"cwd": "/", "args": ["true"], "execCPUAffinity": asked}
    assert scheduling.exec_affinity(process, moves=True) == (before, after)
    kept = [] if after == [ops.EveryCpu()] else after
    assert scheduling.exec_affinity(process, moves=False) == (before, kept)


def test_affinity_of_exec_is_no_list() -> None:
    with pytest.raises(
        SpecError, match=r"^config\.json: process\.execCPUAffinity\.final: `x` is not a list of processors$"
    ):
        scheduling.exec_affinity({"cwd": "/", "args": [], "execCPUAffinity": {"final": "x"}}, moves=True)


def test_exec_round_its_cgroup() -> None:
    """Before: in the cgroup of the runtime. After: born in the container's."""
    joining: Any = {
        "cwd": "/", "args": ["true"], "env": ["HOME=/"],
        "execCPUAffinity": {"initial": "0", "final": "1"},
        "scheduler": {"policy": "SCHED_BATCH"},
        "selinuxLabel": "u:r:t:s0",
    }  # fmt: skip
    whole = config(linux={"memoryPolicy": {"mode": "MPOL_LOCAL"}, "personality": {"domain": "LINUX32"}})
    steps, _ = entry.plan(joining, whole, facts(selinux=True), Door(1, "/c"), b"", 0, keyring="c1")
    assert names(steps) == [
        "host_proc", "cpu_affinity", "open_cgroup", "enter", "clone", "cpu_affinity", "key_label", "keyring",
        "personality", "memory_policy", "scheduler", "umask", "selinux_label",
        "chdir", "bounding", "user", "chdir", "capabilities", "find_executable", "await", "close_on_exec", "execute",
    ]  # fmt: skip


def test_execCPUAffinity_is_not_for_the_first_process() -> None:
    from pyoci_systemd.plan import process
    from tests.unit.plans import request

    made = config(process={"execCPUAffinity": {"initial": "0", "final": "1"}})
    assert "cpu_affinity" not in names(process.plan(made, facts(), request(), b"", 0)[0])

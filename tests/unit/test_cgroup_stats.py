"""Statistics from the files of a cgroup, as real kernels write them (6.12 for the most part)."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd.cgroup import keyed
from pyoci_systemd.cgroup.files import Files
from pyoci_systemd.cgroup.stats.cpu import cpu
from pyoci_systemd.cgroup.stats.cpuset import cpuset
from pyoci_systemd.cgroup.stats.hugetlb import hugetlb
from pyoci_systemd.cgroup.stats.io import io
from pyoci_systemd.cgroup.stats.memory import memory
from pyoci_systemd.cgroup.stats.pressure import pressure
from pyoci_systemd.cgroup.stats.tasks import tasks

UNLIMITED = 2**64 - 1
PRESSURE = "some avg10=1.53 avg60=0.87 avg300=0.73 total=1088168194\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=17\n"
PSI = {
    "some": {"avg10": 1.53, "avg60": 0.87, "avg300": 0.73, "total": 1088168194},
    "full": {"avg10": 0.1, "avg60": 0.0, "avg300": 0.0, "total": 17},
}
CPU_STAT = """\
usage_usec 162182
user_usec 36859
system_usec 125322
nice_usec 0
core_sched.force_idle_usec 0
nr_periods 12
nr_throttled 3
throttled_usec 4500
nr_bursts 0
burst_usec 0
"""
MEMORY_STAT = "anon 49152\nfile 4096\nkernel 86016\nkernel_stack 16384\npagetables 40960\nsock 512\nshmem 0\n"
MEMORY_EVENTS = "low 0\nhigh 0\nmax 41\noom 2\noom_kill 1\noom_group_kill 0\n"
IO_STAT = """\
254:0 rbytes=1826816 wbytes=0 rios=95 wios=0 dbytes=0 dios=0
8:16 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=512 dios=1 cost.usage=7
7:1
(unknown) rbytes=1 wbytes=1 rios=1 wios=1 dbytes=0 dios=0
"""


def of(files: dict[str, str]) -> Callable[[str], str]:
    return lambda name: files.get(name, "")


def entry(major: int, minor: int, op: str, value: int) -> dict[str, Any]:
    return {"major": major, "minor": minor, "op": op, "value": value}


# what is asked, the files there are, what is said
TABLE: dict[str, tuple[Callable[..., Any], dict[str, str], Any]] = {
    "cpu": (
        cpu,
        {"cpu.stat": CPU_STAT, "cpu.pressure": PRESSURE},
        {
            "usage": {"total": 162182000, "kernel": 125322000, "user": 36859000},
            "throttling": {"periods": 12, "throttledPeriods": 3, "throttledTime": 4500000},
            "psi": PSI,
        },
    ),
    "cpu without its controller: nothing is throttled": (
        cpu,
        {"cpu.stat": "usage_usec 5\nuser_usec 2\nsystem_usec 3\n"},
        {"usage": {"total": 5000, "kernel": 3000, "user": 2000}},
    ),
    "cpu of a cgroup that has gone": (cpu, {}, {}),
    "cpuset": (
        cpuset,
        {"cpuset.cpus.effective": "0-2,7\n", "cpuset.mems.effective": "0\n", "cpuset.cpus.partition": "member\n"},
        {"cpus": [0, 1, 2, 7], "cpu_exclusive": 0, "mems": [0]},
    ),
    "cpuset of its own": (cpuset, {"cpuset.cpus.partition": "isolated\n"}, {"cpu_exclusive": 1}),
    "cpuset that could not be had": (
        cpuset,
        {"cpuset.cpus.partition": "root invalid (Cpu list in cpuset.cpus not exclusive)\n"},
        {"cpu_exclusive": 0},
    ),
    "cpuset without its controller": (cpuset, {}, {}),
    "memory": (
        memory,
        {
            "memory.current": "237568\n",
            "memory.max": "16777216\n",
            "memory.peak": "344064\n",
            "memory.events": MEMORY_EVENTS,
            "memory.stat": MEMORY_STAT,
            "memory.swap.current": "4096\n",
            "memory.swap.max": "1048576\n",
            "memory.swap.events": "high 0\nmax 3\nfail 3\n",
            "memory.pressure": PRESSURE,
        },
        {
            "cache": 4096,
            "usage": {"limit": 16777216, "usage": 237568, "max": 344064, "failcnt": 41},
            "swap": {"limit": 16777216 + 1048576, "usage": 237568 + 4096, "failcnt": 3},
            "kernel": {"limit": UNLIMITED, "usage": 86016, "failcnt": 0},
            "kernelTCP": {"limit": UNLIMITED, "usage": 512, "failcnt": 0},
            "raw": {
                "anon": 49152, "file": 4096, "kernel": 86016, "kernel_stack": 16384, "pagetables": 40960, "sock": 512,
                "shmem": 0,
            },
            "psi": PSI,
        },
    ),
    "memory without limits, of Linux 5.10": (
        memory,
        {"memory.current": "8192\n", "memory.max": "max\n", "memory.stat": "file 0\n"}
        | {"memory.swap.current": "0\n", "memory.swap.max": "1048576\n"},
        {
            "cache": 0,
            "usage": {"limit": UNLIMITED, "usage": 8192, "failcnt": 0},
            "swap": {"limit": UNLIMITED, "usage": 8192, "failcnt": 0},
            "raw": {"file": 0},
        },
    ),
    "memory without swap": (
        memory,
        {"memory.current": "1\n", "memory.max": "2\n"},
        {"usage": {"limit": 2, "usage": 1, "failcnt": 0}},
    ),
    "memory without its controller": (memory, {"memory.pressure": PRESSURE}, {"psi": PSI}),
    "tasks": (tasks, {"pids.current": "3\n", "pids.max": "100\n"}, {"current": 3, "limit": 100}),
    "tasks, any number": (tasks, {"pids.current": "3\n", "pids.max": "max\n"}, {"current": 3}),
    "tasks without their controller": (tasks, {}, {}),
    "io": (
        io,
        {"io.stat": IO_STAT, "io.pressure": PRESSURE},
        {
            "ioServiceBytesRecursive": [
                entry(254, 0, "Read", 1826816), entry(254, 0, "Write", 0), entry(254, 0, "Discard", 0),
                entry(8, 16, "Read", 4096), entry(8, 16, "Write", 8192), entry(8, 16, "Discard", 512),
            ],
            "ioServicedRecursive": [
                entry(254, 0, "Read", 95), entry(254, 0, "Write", 0), entry(254, 0, "Discard", 0),
                entry(8, 16, "Read", 1), entry(8, 16, "Write", 2), entry(8, 16, "Discard", 1),
            ],
            "psi": PSI,
        },
    ),
    "io of a cgroup that has done none": (io, {"io.stat": ""}, {}),
    "pressure, with nothing that waits whole": (lambda text: pressure(text("x")), {"x": PRESSURE[:55]}, {
        "some": PSI["some"]
    }),
    "pressure, switched off": (lambda text: pressure(text("x")), {}, {}),
    "huge pages": (
        lambda text: hugetlb(text, ["hugetlb.2MB.current", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.current",
                                    "hugetlb.1GB.current", "hugetlb.2MB.events", "memory.current"]),
        {"hugetlb.2MB.current": "4194304\n", "hugetlb.2MB.events": "max 5\n", "hugetlb.1GB.current": "0\n",
         "memory.current": "1\n", "hugetlb.2MB.rsvd.current": "9\n"},
        {"1GB": {"usage": 0, "failcnt": 0}, "2MB": {"usage": 4194304, "failcnt": 5}},
    ),
    "huge pages without their controller": (lambda text: hugetlb(text, ["memory.current"]), {}, {}),
}  # fmt: skip


def test_statistics() -> None:
    assert {what: ask(of(files)) for what, (ask, files, _) in TABLE.items()} == {
        what: expected for what, (_, _, expected) in TABLE.items()
    }


@pytest.mark.parametrize(("text", "number"), [
    ("7\n", 7), ("max\n", UNLIMITED), ("", None), ("0\n", 0), ("-1\n", None), ("default 100\n", None),
])  # fmt: skip
def test_number(text: str, number: int | None) -> None:
    assert keyed.number(text) == number


@pytest.mark.parametrize(("text", "numbers"), [("0\n", [0]), ("0-1,4-5\n", [0, 1, 4, 5]), ("\n", []), ("", [])])
def test_numbers(text: str, numbers: list[int]) -> None:
    assert keyed.numbers(text) == numbers


def test_files(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pids.max").write_text("max\n")
    files = Files(str(tmp_path))
    assert (files.text("pids.max"), files.text("pids.current"), files.names()) == ("max\n", "", ["pids.max"])
    gone = Files(f"{tmp_path}/gone")
    assert (gone.text("pids.max"), gone.names()) == ("", [])

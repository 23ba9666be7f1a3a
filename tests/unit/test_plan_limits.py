"""linux.resources as files of a cgroup of our own."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.plan import limits
from tests.unit.plans import limited


@pytest.mark.parametrize(("asked", "files"), [
    ({}, []),
    ({"memory": {"limit": 1 << 20}}, [("memory.max", "1048576")]),
    ({"memory": {"limit": -1}}, [("memory.max", "max")]),
    ({"memory": {"reservation": 4096}}, [("memory.low", "4096")]),
    ({"memory": {"limit": 100, "swap": 300}}, [("memory.max", "100"), ("memory.swap.max", "200")]),
    ({"memory": {"limit": 100, "swap": 100}}, [("memory.max", "100"), ("memory.swap.max", "0")]),
    ({"memory": {"limit": 100, "swap": -1}}, [("memory.max", "100"), ("memory.swap.max", "max")]),
    ({"memory": {"limit": -1, "swap": -1}}, [("memory.max", "max"), ("memory.swap.max", "max")]),
    ({"memory": {"limit": 0, "swap": 0}}, []),
    ({"cpu": {"shares": 1024}}, [("cpu.weight", "100")]),
    ({"cpu": {"shares": 2}}, [("cpu.weight", "1")]),
    ({"cpu": {"quota": 50000, "period": 20000}}, [("cpu.max", "50000 20000")]),
    ({"cpu": {"quota": 50000}}, [("cpu.max", "50000 100000")]),
    ({"cpu": {"period": 20000}}, [("cpu.max", "max 20000")]),
    ({"cpu": {"quota": -1, "period": 20000}}, [("cpu.max", "max 20000")]),
    ({"cpu": {"quota": -1}}, [("cpu.max", "max 100000")]),
    ({"cpu": {"cpus": "0-2,7", "mems": "0"}}, [("cpuset.cpus", "0-2,7"), ("cpuset.mems", "0")]),
    ({"pids": {"limit": 5}}, [("pids.max", "5")]),
    ({"pids": {"limit": -1}}, [("pids.max", "max")]),
    ({"pids": {"limit": 0}}, []),
])  # fmt: skip
def test_files(asked: dict[str, Any], files: list[tuple[str, str]]) -> None:
    assert limits.files(limited(**asked)) == files


def test_memory_before_swap_and_no_file_twice() -> None:
    made = limits.files(limited(
        pids={"limit": 1}, cpu={"mems": "0", "cpus": "0", "quota": 1, "shares": 1}, memory={"swap": 2, "reservation": 1, "limit": 1},
    ))  # fmt: skip
    names = [name for name, _ in made]
    assert names.index("memory.max") < names.index("memory.swap.max")
    assert len(names) == len(set(names)) == 8


def test_no_resources() -> None:
    assert limits.files({"ociVersion": "1.0.0", "root": {"path": "r"}}) == []

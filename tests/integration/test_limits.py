"""Limits where they stand: in the unit, in the files of its scope, and in those of the container's own cgroup.

One container serves a table: it is made with all its rows, or gets them by `update`, and each row is looked for in all
four places, before and after a daemon-reload. What a limit does is in test_effects.py.
crun 1.21, seen in this machine: MemorySwapMax and the scope's memory.swap.max are the sum of memory and swap, 0 never
gets there; a quota or a period alone, cpu.idle, throttles and memory.oom.group are no properties, and with them the scope
has nothing (so a container that is idle is idle among its own processes only); rdma is taken in silence and lost.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.integration.conftest import CRUN, Container
from tests.integration.effect_scene import CGROUPS, cgroup_of, device, huge_pages, null_disk, rdma_device, scope_of
from tests.integration.needs import SLOWER, needs

__all__ = ["huge_pages", "null_disk", "rdma_device"]

K, M = 1 << 10, 1 << 20
MOST = (1 << 64) - 1
pytestmark = pytest.mark.skipif(CRUN, reason="crun: see above")
all_controllers = needs(*(f"{name} controller" for name in ("cpu", "cpuset", "io", "memory", "pids")))


class Limit(NamedTuple):
    """What is asked, the property of the unit and its value for pystemd, and the file that has it."""

    asked: dict[str, Any]
    property: str
    value: Any
    file: str
    holds: str
    scope: str | None = ""
    """what the file of the scope holds, where that is not the same; None: the scope has none of it"""


def limits(*, of: int, cpus: str, idle: bool, disk: str) -> list[Limit]:
    """Return a row for each resource, with values that all depend on `of`, a number from 1 to 9."""
    amount = 16 * M * of
    shares: list[Limit] = [
        Limit({"cpu": {"idle": 1}}, "CPUWeight", 0, "cpu.idle", "1"),
    ] if idle else [
        Limit({"cpu": {"shares": 1024 * of}}, "CPUWeight", WEIGHTS[of], "cpu.weight", str(WEIGHTS[of])),
    ]  # fmt: skip
    return [
        *shares,
        Limit({"memory": {"limit": amount}}, "MemoryMax", amount, "memory.max", str(amount)),
        Limit({"memory": {"swap": amount + of * M}}, "MemorySwapMax", of * M, "memory.swap.max", str(of * M)),
        Limit({"memory": {"reservation": of * M}}, "MemoryLow", of * M, "memory.low", str(of * M)),
        Limit({"cpu": {"quota": 5000 * of}}, "CPUQuotaPerSecUSec", 100_000 * of, "cpu.max", f"{5000 * of} 50000"),
        Limit({"cpu": {"period": 50000}}, "CPUQuotaPeriodUSec", 50_000, "cpu.max", f"{5000 * of} 50000"),
        Limit({"cpu": {"burst": 1000 * of}}, "", None, "cpu.max.burst", str(1000 * of)),
        Limit({"cpu": {"cpus": cpus}}, "AllowedCPUs", 1 << int(cpus), "cpuset.cpus", cpus),
        Limit({"cpu": {"mems": "0"}}, "AllowedMemoryNodes", 1, "cpuset.mems", "0"),
        Limit({"pids": {"limit": 10 * of}}, "TasksMax", 10 * of, "pids.max", str(10 * of)),
        Limit({"blockIO": {"weight": 100 * of}}, "IOWeight", 1100 * of - 1000, "io.bfq.weight", f"default {100 * of}"),
        *(
            Limit({"blockIO": {key: [{**device(disk), "rate": rate}]}}, name, [(f"/dev/block/{disk}", rate)], "io.max", line)
            for key, name, rate, line in [
                ("throttleReadBpsDevice", "IOReadBandwidthMax", of * M, f"{disk} rbps={of * M}"),
                ("throttleWriteBpsDevice", "IOWriteBandwidthMax", of * K * 4, f" wbps={of * K * 4}"),
                ("throttleReadIOPSDevice", "IOReadIOPSMax", of * 100, f" riops={of * 100}"),
                ("throttleWriteIOPSDevice", "IOWriteIOPSMax", of * 10, f" wiops={of * 10}"),
            ]
        ),
        Limit({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 * M * of}]}, "", None, "hugetlb.2MB.max", str(2 * M * of), "max"),
        Limit({"rdma": {"rxe0": {"hcaHandles": of, "hcaObjects": 9}}}, "", None, "rdma.max", f"hca_handle={of} hca_object=9", "rxe0 hca_handle=max hca_object=max"),
        Limit({"unified": {"memory.high": f"{12 * of}M"}}, "MemoryHigh", 12 * of * M, "memory.high", str(12 * of * M)),
        Limit({"unified": {"memory.min": f"{of * 512}k"}}, "MemoryMin", 512 * K * of, "memory.min", str(512 * K * of)),
        Limit({"unified": {"memory.zswap.max": f"{of}M"}}, "MemoryZSwapMax", of * M, "memory.zswap.max", str(of * M)),
        # a file that nobody has heard of is a file
        Limit({"unified": {"memory.swap.high": f"{of}M"}}, "", None, "memory.swap.high", str(of * M), "max"),
        Limit({"unified": {"cgroup.max.depth": f"{of}"}}, "", None, "cgroup.max.depth", str(of), "max"),
    ]  # fmt: skip


WEIGHTS = {1: 100, 2: 174, 3: 240}


def merged(rows: list[Limit]) -> dict[str, Any]:
    """Return what all rows ask for as one section of a config."""
    result: dict[str, Any] = {}
    for row in rows:
        for section, asked in row.asked.items():
            result[section] = {**result.get(section, {}), **asked} if isinstance(asked, dict) else asked
    return result


def plain(name: str, value: Any) -> Any:
    """Return what pystemd says as the tables have it: a mask as a number, paths as text."""
    if name.startswith("Allowed"):
        return int.from_bytes(bytes(value), "little")
    return [(path.decode(), rate) for path, rate in value] if isinstance(value, list) else value


def wrong(container: Container, rows: list[Limit]) -> Iterator[str]:
    """Yield what does not stand where it should, a line each."""
    from pystemd.systemd1 import Unit

    name, own = scope_of(container), cgroup_of(container)
    names = sorted({row.property for row in rows if row.property})
    command = ["systemctl", "show", f"--property={','.join(names)}", name]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20 * SLOWER).stdout
    said = dict(line.split("=", 1) for line in shown.splitlines())
    with Unit(name.encode(), _autoload=True) as unit:
        for row in rows:
            if row.property:
                value = plain(row.property, getattr(unit.Scope, row.property))
                if value != row.value:
                    yield f"{row.property} is {value} for pystemd, not {row.value}"
                if not said.get(row.property) or said[row.property] in ("infinity", "[not set]"):
                    yield f"{row.property} is `{said.get(row.property)}` for systemctl"
            for cgroup, holds in ((own, row.holds), (own.parent, row.scope or row.holds)):
                there = (cgroup / row.file).read_text().strip()
                if holds not in f"{there} " if row.file in ("io.max", "rdma.max") else holds != there:
                    yield f"{row.file} of {cgroup.name} holds `{there}`, not `{holds}`"


@all_controllers
@pytest.mark.parametrize("idle", [False, True], ids=["weight", "idle"])
def test_created(container: Container, null_disk: str, huge_pages: None, rdma_device: None, idle: bool) -> None:
    rows = limits(of=2, cpus="1", idle=idle, disk=null_disk)
    container.config["linux"]["resources"] = merged(rows)
    container.create()
    assert [*wrong(container, rows)] == []
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60 * SLOWER)
    assert [*wrong(container, rows)] == []
    container.delete()


@all_controllers
def test_updated(container: Container, null_disk: str, huge_pages: None, rdma_device: None) -> None:
    """Twice, up and down, from a file and from stdin; the options are in the next test."""
    container.create()
    for number, cpus, way in ((3, "0", "-"), (1, "1", container.bundle.path / "limits.json")):
        rows = limits(of=number, cpus=cpus, idle=False, disk=null_disk)
        text = json.dumps(merged(rows))
        if isinstance(way, pathlib.Path):
            way.write_text(text)
        container.run("update", "--resources", way, container.name, check=True, input=text if way == "-" else None)
        assert [*wrong(container, rows)] == []
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60 * SLOWER)
    assert [*wrong(container, rows)] == []
    container.delete()


OPTIONS = [
    (["--memory=48m", "--memory-swap=64m"], [
        Limit({}, "MemoryMax", 48 * M, "memory.max", str(48 * M)),
        Limit({}, "MemorySwapMax", 16 * M, "memory.swap.max", str(16 * M))]),
    (["--memory-reservation=8m"], [Limit({}, "MemoryLow", 8 * M, "memory.low", str(8 * M))]),
    # with a burst in force, which the kernel wants to fit into the quota; systemd's property is in steps of 1 %
    (["--cpu-quota=30001", "--cpu-burst=30001"], [Limit({}, "CPUQuotaPerSecUSec", 310_000, "cpu.max", "30001 100000", "31000 100000")]),
    (["--cpu-quota=20000", "--cpu-burst=7"], [
        Limit({}, "CPUQuotaPerSecUSec", 200_000, "cpu.max", "20000 100000"),
        Limit({}, "", None, "cpu.max.burst", "7")]),
    (["--cpu-period=40000"], [Limit({}, "CPUQuotaPeriodUSec", 40_000, "cpu.max", "20000 40000")]),
    (["--cpu-share=3072"], [Limit({}, "CPUWeight", WEIGHTS[3], "cpu.weight", str(WEIGHTS[3]))]),
    (["--cpu-idle=1"], [Limit({}, "CPUWeight", 0, "cpu.idle", "1")]),
    (["--cpuset-cpus=1", "--cpuset-mems=0"], [
        Limit({}, "AllowedCPUs", 2, "cpuset.cpus", "1"), Limit({}, "AllowedMemoryNodes", 1, "cpuset.mems", "0")]),
    (["--pids-limit=77"], [Limit({}, "TasksMax", 77, "pids.max", "77")]),
    (["--blkio-weight=10"], [Limit({}, "IOWeight", 10, "io.bfq.weight", "default 10")]),
    (["--memory=-1", "--memory-swap=-1"], [Limit({}, "MemorySwapMax", MOST, "memory.swap.max", "max")]),
]  # fmt: skip


@all_controllers
def test_update_by_options(container: Container, null_disk: str) -> None:
    """Each on its own, for some limits are known by others; and what an administrator has set meanwhile stays."""
    container.create()
    found = {}
    for options, rows in OPTIONS:
        container.run("update", *options, container.name, check=True)
        found[" ".join(options)] = [line for line in wrong(container, rows) if "infinity" not in line]
    assert not any(found.values()), found
    set_by_hand = ["systemctl", "set-property", "--runtime", scope_of(container), "TasksMax=33", "MemoryHigh=32M"]
    subprocess.run(set_by_hand, check=True, timeout=60 * SLOWER)
    container.run("update", "--cpu-share=1024", container.name, check=True)
    scope = cgroup_of(container).parent
    assert [(scope / name).read_text().strip() for name in ("pids.max", "memory.high")] == ["33", str(32 * M)]
    container.delete()


@all_controllers
def test_update_that_the_kernel_refuses(container: Container) -> None:
    """It is all or nothing: neither the unit nor a file has changed."""
    container.config["linux"]["resources"] = {"memory": {"limit": 64 * M}, "pids": {"limit": 9}}
    container.create()
    asked = {"memory": {"limit": 32 * M}, "pids": {"limit": 8}, "unified": {"memory.high": "much"}}
    done = container.run("update", "-r", "-", container.name, input=json.dumps(asked))
    cgroup = cgroup_of(container)
    told = f"linux.resources.unified.memory.high: cannot write `much` to `{cgroup}/memory.high`: Invalid argument"
    assert (done.returncode, done.stderr) == (1, f"pyoci: {told}\n")
    rows = [
        Limit({}, "MemoryMax", 64 * M, "memory.max", str(64 * M)),
        Limit({}, "TasksMax", 9, "pids.max", "9"),
    ]
    assert [*wrong(container, rows)] == []
    container.delete()


@all_controllers
def test_a_controller_that_systemd_leaves_alone(container: Container, huge_pages: None) -> None:
    """It is handed down from the root to the container, and stays when systemd looks over its cgroups."""
    container.config["linux"]["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * M}]}
    container.create()
    assert "hugetlb" in (CGROUPS / "system.slice/cgroup.subtree_control").read_text().split()
    container.delete()

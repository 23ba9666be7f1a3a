"""linux.resources as files of a cgroup, and what of them systemd is told too."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.cgroupfile import File
from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import resources
from pyoci_systemd.plan.limits.numbers import INFINITY


def written(asked: Any) -> list[tuple[str, str]]:
    return [(file.name, file.value) for file in resources.files(asked)]


@pytest.mark.parametrize(("asked", "files"), [
    ({}, []),
    ({"memory": {"limit": 1 << 20}}, [("memory.max", "1048576")]),
    ({"memory": {"limit": -1}}, [("memory.max", "max")]),
    ({"memory": {"reservation": 4096}}, [("memory.low", "4096")]),
    ({"memory": {"limit": 100, "swap": 300}}, [("memory.max", "100"), ("memory.swap.max", "200")]),
    ({"memory": {"limit": 100, "swap": 100}}, [("memory.max", "100"), ("memory.swap.max", "0")]),
    ({"memory": {"limit": 100, "swap": -1}}, [("memory.max", "100"), ("memory.swap.max", "max")]),
    ({"memory": {"limit": -1, "swap": -1}}, [("memory.max", "max"), ("memory.swap.max", "max")]),
    ({"memory": {"limit": 0, "swap": 0, "checkBeforeUpdate": True}}, []),
    ({"cpu": {"shares": 1024}}, [("cpu.weight", "100")]),
    ({"cpu": {"shares": 2}}, [("cpu.weight", "1")]),
    ({"cpu": {"idle": 1}}, [("cpu.idle", "1")]),
    ({"cpu": {"idle": 1, "shares": 1024}}, [("cpu.idle", "1")]),  # the kernel refuses a weight for what is idle
    ({"cpu": {"idle": 0, "shares": 1024}}, [("cpu.idle", "0"), ("cpu.weight", "100")]),
    ({"cpu": {"quota": 50000, "period": 20000}}, [("cpu.max", "50000 20000")]),
    ({"cpu": {"quota": 50000}}, [("cpu.max", "50000 100000")]),
    ({"cpu": {"period": 20000}}, [("cpu.max", "max 20000")]),
    ({"cpu": {"quota": -1, "period": 20000}}, [("cpu.max", "max 20000")]),
    ({"cpu": {"quota": -1}}, [("cpu.max", "max 100000")]),
    ({"cpu": {"quota": 50000, "burst": 20000}}, [("cpu.max", "50000 100000"), ("cpu.max.burst", "20000")]),
    ({"cpu": {"burst": 0}}, [("cpu.max.burst", "0")]),
    ({"cpu": {"cpus": "0-2,7", "mems": "0"}}, [("cpuset.cpus", "0-2,7"), ("cpuset.mems", "0")]),
    ({"pids": {"limit": 5}}, [("pids.max", "5")]),
    ({"pids": {"limit": -1}}, [("pids.max", "max")]),
    ({"pids": {"limit": 0}}, []),
    ({"blockIO": {}}, []),
    ({"blockIO": {"weight": 500}}, [("io.bfq.weight", "default 500")]),
    ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}, [("io.bfq.weight", "8:0 10")]),
    ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}, {"major": 8, "minor": 16, "rate": 0}]}},
     [("io.max", "8:0 rbps=1024"), ("io.max", "8:16 rbps=max")]),
    ({"blockIO": {"throttleWriteBpsDevice": [{"major": 259, "minor": 1, "rate": 9}],
                  "throttleReadIOPSDevice": [{"major": 259, "minor": 1, "rate": 8}],
                  "throttleWriteIOPSDevice": [{"major": 259, "minor": 1, "rate": 7}]}},
     [("io.max", "259:1 wbps=9"), ("io.max", "259:1 riops=8"), ("io.max", "259:1 wiops=7")]),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}, {"pageSize": "1GB", "limit": 0}]},
     [("hugetlb.2MB.max", "4194304"), ("hugetlb.1GB.max", "0")]),
    ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe0": {"hcaObjects": 0}}},
     [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"), ("rdma.max", "rxe0 hca_object=0")]),
    ({"unified": {"memory.high": "1G", "io.max": "8:0 rbps=1\n8:16 wbps=2\n"}},
     [("memory.high", "1G"), ("io.max", "8:0 rbps=1"), ("io.max", "8:16 wbps=2")]),
    ({"unified": {"memory.max": "1"}, "memory": {"limit": 2}}, [("memory.max", "2"), ("memory.max", "1")]),
])  # fmt: skip
def test_files(asked: dict[str, Any], files: list[tuple[str, str]]) -> None:
    assert written(asked) == files


@pytest.mark.parametrize(("weight", "io"), [(10, 10), (99, 99), (100, 100), (101, 111), (500, 4500), (1000, 10000)])
def test_weight_of_bfq(weight: int, io: int) -> None:
    """systemd turns IOWeight into BFQ's again: 100 + (w - 100) · 900 / 9900 above 100."""
    asked: Any = {"blockIO": {"weight": weight, "weightDevice": [{"major": 8, "minor": 0, "weight": weight}]}}
    assert resources.files(asked) == [
        File("io.bfq.weight", f"default {weight}", "blockIO.weight", ("io.weight", f"default {io}")),
        File("io.bfq.weight", f"8:0 {weight}", "blockIO.weightDevice", ("io.weight", f"8:0 {io}")),
    ]
    assert resources.properties(asked) == [("IOWeight", "t", io), ("IODeviceWeight", "a(st)", [("/dev/block/8:0", io)])]
    assert io <= 100 or 100 + (io - 100) * 900 // 9900 == weight


def test_memory_before_swap_and_no_file_twice() -> None:
    names = [name for name, _ in written({
        "pids": {"limit": 1}, "cpu": {"mems": "0", "cpus": "0", "quota": 1, "shares": 1}, "memory": {"swap": 2, "reservation": 1, "limit": 1},
    })]  # fmt: skip
    assert names.index("memory.max") < names.index("memory.swap.max")
    assert len(names) == len(set(names)) == 8


@pytest.mark.parametrize(("asked", "told"), [
    ({"cpu": {"idle": 1}}, [("CPUWeight", "t", 0)]),
    ({"cpu": {"idle": 1, "shares": 1024}}, [("CPUWeight", "t", 0)]),
    ({"cpu": {"idle": 0, "shares": 1024}}, [("CPUWeight", "t", 100)]),
    ({"cpu": {"burst": 1}}, []),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}], "rdma": {"mlx5_1": {"hcaHandles": 3}}}, []),
    ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}, {"major": 8, "minor": 16, "rate": 0}]}},
     [("IOReadBandwidthMax", "a(st)", [("/dev/block/8:0", 1024), ("/dev/block/8:16", INFINITY)])]),
    ({"blockIO": {"throttleWriteBpsDevice": [{"major": 259, "minor": 1, "rate": 9}],
                  "throttleReadIOPSDevice": [{"major": 259, "minor": 1, "rate": 8}],
                  "throttleWriteIOPSDevice": [{"major": 259, "minor": 1, "rate": 7}]}},
     [("IOWriteBandwidthMax", "a(st)", [("/dev/block/259:1", 9)]), ("IOReadIOPSMax", "a(st)", [("/dev/block/259:1", 8)]),
      ("IOWriteIOPSMax", "a(st)", [("/dev/block/259:1", 7)])]),
])  # fmt: skip
def test_told(asked: Any, told: list[Any]) -> None:
    assert resources.properties(asked) == told


@pytest.mark.parametrize(("key", "value", "told"), [
    ("memory.max", "max", [("MemoryMax", "t", INFINITY)]),
    ("memory.max", "1G", [("MemoryMax", "t", 1 << 30)]),
    ("memory.high", " 2m\n", [("MemoryHigh", "t", 2 << 20)]),
    ("memory.min", "4096", [("MemoryMin", "t", 4096)]),
    ("memory.low", "4k", [("MemoryLow", "t", 4096)]),
    ("memory.swap.max", "0", [("MemorySwapMax", "t", 0)]),
    ("memory.zswap.max", "0", [("MemoryZSwapMax", "t", 0)]),
    ("memory.oom.group", "1", [("OOMPolicy", "s", "kill")]),
    ("memory.oom.group", "0", [("OOMPolicy", "s", "continue")]),
    ("pids.max", "max", [("TasksMax", "t", INFINITY)]),
    ("cpu.max", "50000", [("CPUQuotaPerSecUSec", "t", 500_000)]),
    ("cpu.max", "50000 20000", [("CPUQuotaPerSecUSec", "t", 2_500_000), ("CPUQuotaPeriodUSec", "t", 20_000)]),
    ("cpu.max", "max 20000", [("CPUQuotaPerSecUSec", "t", INFINITY), ("CPUQuotaPeriodUSec", "t", 20_000)]),
    ("cpu.weight", "7", [("CPUWeight", "t", 7)]),
    ("cpu.weight.nice", "0", [("CPUWeight", "t", 100)]),
    ("cpu.weight.nice", "-20", [("CPUWeight", "t", 8674)]),
    ("cpu.weight.nice", "19", [("CPUWeight", "t", 1)]),
    ("cpu.weight.nice", "20", []),
    ("cpu.idle", "1", [("CPUWeight", "t", 0)]),
    ("cpu.idle", "0", []),
    ("cpuset.cpus", "0,2", [("AllowedCPUs", "ay", b"\x05")]),
    ("cpuset.mems", "0", [("AllowedMemoryNodes", "ay", b"\x01")]),
    ("io.weight", "50", [("IOWeight", "t", 50)]),
    ("io.weight", "default 50\n8:0 60", [("IOWeight", "t", 50), ("IODeviceWeight", "a(st)", [("/dev/block/8:0", 60)])]),
    ("io.bfq.weight", "1000", [("IOWeight", "t", 10000)]),
    ("io.max", "8:0 rbps=1 wiops=max\n8:16 rbps=2",
     [("IOReadBandwidthMax", "a(st)", [("/dev/block/8:0", 1), ("/dev/block/8:16", 2)]),
      ("IOWriteIOPSMax", "a(st)", [("/dev/block/8:0", INFINITY)])]),
    ("io.latency", "8:0 target=75", [("IODeviceLatencyTargetUSec", "a(st)", [("/dev/block/8:0", 75)])]),
    # what systemd has no word for
    ("cpu.max.burst", "5", []), ("hugetlb.2MB.max", "0", []), ("misc.max", "x 1", []), ("memory.swap.high", "1", []),
    # what is for the kernel to judge
    ("memory.max", "much", []), ("memory.max", "-1", []), ("memory.max", "", []), ("memory.max", "9" * 30, []),
    ("cpu.max", "", []), ("cpu.max", "5 x", []), ("cpu.max", "5 0", []), ("cpu.weight", "heavy", []), ("cpuset.cpus", "3-1", []),
    ("io.max", "8:0 what=1", []), ("io.max", "sda rbps=1", []), ("io.weight", "", []), ("io.latency", "8:0", []),
    ("memory.oom.group", "2", []),
])  # fmt: skip
def test_unified(key: str, value: str, told: list[Any]) -> None:
    assert resources.properties({"unified": {key: value}}) == told
    assert written({"unified": {key: value}}) == [(key, line) for line in value.split("\n") if line]


def test_what_unified_says_counts() -> None:
    asked: Any = {
        "memory": {"limit": 2},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
        "unified": {"memory.max": "3", "io.max": "8:16 rbps=2"},
    }
    assert resources.properties(asked) == [
        ("MemoryMax", "t", 3),
        ("IOReadBandwidthMax", "a(st)", [("/dev/block/8:0", 1), ("/dev/block/8:16", 2)]),
    ]


def test_what_the_scope_bounds_is_on_the_scope_too() -> None:
    """And what systemd has a property for is there anyhow."""
    asked: Any = {
        "cpu": {"quota": 5000, "burst": 1000},
        "memory": {"limit": 1 << 20},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "unified": {"cpu.uclamp.min": "20", "cpu.uclamp.max": "80"},
    }
    assert [file.name for file in resources.files(asked) if file.above] == ["cpu.max.burst", "cpu.uclamp.min"]


def test_leaf_weight_of_a_device() -> None:
    with pytest.raises(SpecError, match=r"blockIO\.weightDevice\[0\]\.leafWeight: cgroup v2 has no such limit$"):
        resources.files({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}})

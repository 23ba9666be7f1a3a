"""Limits in one form: the same limit gives the same words wherever it is read."""

from __future__ import annotations

import pytest

from pyoci_systemd.plan.limits import normal
from pyoci_systemd.plan.limits.numbers import INFINITY

PAGE = 4096
M = 1 << 20


def node(path: str) -> str:
    return {"/dev/sda": "block 8:0", "/dev/fuse": "char 10:229"}.get(path, "")


FILES = [
    # file, text, limits
    ("memory.max", "67108864\n", {"memory.max": "67108864"}),
    ("memory.max", "67108865", {"memory.max": "67108864"}),
    ("memory.max", "64M", {"memory.max": "67108864"}),
    ("memory.max", "max\n", {"memory.max": "max"}),
    ("memory.swap.max", "0", {"memory.swap.max": "0"}),
    ("memory.high", "much", {"memory.high": "much"}),
    ("memory.oom.group", "1\n", {"memory.oom.group": "1"}),
    ("pids.max", "100\n", {"pids.max": "100"}),
    ("cpu.max", "50000 100000\n", {"cpu.max": "50%", "cpu.max.period": "100000"}),
    ("cpu.max", "33333 100000", {"cpu.max": "34%", "cpu.max.period": "100000"}),
    ("cpu.max", "34000 100000", {"cpu.max": "34%", "cpu.max.period": "100000"}),
    ("cpu.max", "11333 33333", {"cpu.max": "34%", "cpu.max.period": "33333"}),
    ("cpu.max", "250000 100000", {"cpu.max": "250%", "cpu.max.period": "100000"}),
    ("cpu.max", "50000", {"cpu.max": "50%", "cpu.max.period": "100000"}),
    ("cpu.max", "max 100000", {"cpu.max": "max", "cpu.max.period": "100000"}),
    ("cpu.weight", "59\n", {"cpu.weight": "59"}),
    ("cpuset.cpus", "0,1,2,7", {"cpuset.cpus": "0-2,7"}),
    ("cpuset.cpus", "0-2,7\n", {"cpuset.cpus": "0-2,7"}),
    ("cpuset.mems", "\n", {"cpuset.mems": ""}),
    ("io.weight", "default 4500\n8:0 200\n", {"io.weight": "4500", "io.weight 8:0": "200"}),
    ("io.weight", "300", {"io.weight": "300"}),
    ("io.bfq.weight", "default 500\n", {"io.weight": "4500"}),
    (
        "io.max",
        "8:0 rbps=1048576 wbps=max riops=max wiops=200\n",
        {"io.max 8:0 rbps": "1048576", "io.max 8:0 wbps": "max", "io.max 8:0 riops": "max", "io.max 8:0 wiops": "200"},
    ),
    ("io.max", "8:0 rbps=1M", {"io.max 8:0 rbps": "1048576"}),
    ("io.max", "", {}),
    ("io.latency", "8:0 target=75", {"io.latency 8:0 target": "75"}),
    ("rdma.max", "mlx4_0 hca_handle=2 hca_object=max", {
        "rdma.max mlx4_0 hca_handle": "2", "rdma.max mlx4_0 hca_object": "max"}),
    ("hugetlb.2MB.max", "3145728", {"hugetlb.2MB.max": "2097152"}),
    ("hugetlb.1GB.max", "max\n", {"hugetlb.1GB.max": "max"}),
    ("misc.max", "sev 10\nsev_es max\n", {"misc.max sev": "10", "misc.max sev_es": "max"}),
    ("cpu.uclamp.min", "12.50\n", {"cpu.uclamp.min": "12.50"}),
]  # fmt: skip

PROPERTIES = [
    # property, value, limits
    ("MemoryMax", 64 * M, {"memory.max": "67108864"}),
    ("MemoryMax", 64 * M + 1, {"memory.max": "67108864"}),
    ("MemoryMax", INFINITY, {"memory.max": "max"}),
    ("MemorySwapMax", 0, {"memory.swap.max": "0"}),
    ("MemoryLow", 0, {"memory.low": "0"}),
    ("MemoryZSwapMax", INFINITY, {"memory.zswap.max": "max"}),
    ("TasksMax", 100, {"pids.max": "100"}),
    ("TasksMax", INFINITY, {"pids.max": "max"}),
    ("CPUQuotaPerSecUSec", 340_000, {"cpu.max": "34%"}),
    ("CPUQuotaPerSecUSec", INFINITY, {"cpu.max": "max"}),
    ("CPUQuotaPeriodUSec", 33_333, {"cpu.max.period": "33333"}),
    ("CPUQuotaPeriodUSec", INFINITY, {"cpu.max.period": "100000"}),
    ("CPUWeight", 59, {"cpu.weight": "59", "cpu.idle": "0"}),
    ("CPUWeight", 0, {"cpu.idle": "1"}),
    ("CPUWeight", INFINITY, {"cpu.weight": "100", "cpu.idle": "0"}),
    ("AllowedCPUs", bytes([0b10000111]), {"cpuset.cpus": "0-2,7"}),
    ("AllowedCPUs", [0b10000111, 0, 0, 0, 0, 0, 0, 0], {"cpuset.cpus": "0-2,7"}),
    ("AllowedMemoryNodes", [], {"cpuset.mems": ""}),
    ("IOWeight", 4500, {"io.weight": "4500"}),
    ("IOWeight", INFINITY, {"io.weight": "100"}),
    ("IODeviceWeight", [["/dev/block/8:0", 200]], {"io.weight 8:0": "200"}),
    ("IOReadBandwidthMax", [("/dev/sda", M)], {"io.max 8:0 rbps": "1048576"}),
    ("IOWriteIOPSMax", [("/dev/block/8:0", INFINITY)], {"io.max 8:0 wiops": "max"}),
    ("IOWriteBandwidthMax", [("/gone", 5)], {"io.max /gone wbps": "5"}),
    ("IODeviceLatencyTargetUSec", [("/dev/sda", 75)], {"io.latency 8:0 target": "75"}),
    ("OOMPolicy", "kill", {"memory.oom.group": "1"}),
    ("OOMPolicy", "continue", {"memory.oom.group": "0"}),
    ("DevicePolicy", "strict", {"devices": "strict"}),
    (
        "DeviceAllow",
        [("char-*", "m"), ("/dev/char/1:3", "wr"), ("/dev/char/1:3", "m"), ("/dev/fuse", "rw"), ("/dev/block/8:0", "r")],
        {"device char-*": "m", "device char 1:3": "rwm", "device char 10:229": "rw", "device block 8:0": "r"},
    ),
    ("DeviceAllow", [("char-pts", "rw"), ("/gone", "r")], {"device char-pts": "rw", "device /gone": "r"}),
    ("Description", "text", {}),
    ("Delegate", True, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "limits"), FILES)
def test_files(name: str, text: str, limits: dict[str, str]) -> None:
    assert normal.of_file(name, text, PAGE) == limits


@pytest.mark.parametrize(("name", "value", "limits"), PROPERTIES)
def test_properties(name: str, value: object, limits: dict[str, str]) -> None:
    assert normal.of_property(name, value, PAGE, node) == limits


def test_larger_pages() -> None:
    assert normal.of_file("memory.max", "100000", 65536) == {"memory.max": "65536"}
    assert normal.of_property("MemoryMax", 100000, 65536, node) == {"memory.max": "65536"}
    assert normal.of_property("MemoryMax", INFINITY, 65536, node) == {"memory.max": "max"}


@pytest.mark.parametrize(
    ("key", "value", "file"),
    [
        ("memory.max", "max", "memory.max"),
        ("io.max 8:0 rbps", "max", "io.max"),
        ("io.weight", "100", "io.weight"),
        ("io.weight 8:0", "", "io.weight"),
        ("cpu.max.period", "100000", "cpu.max"),
        ("device char 1:3", "", "device"),
        ("misc.max sev", "", "misc.max"),
    ],
)
def test_without_a_limit(key: str, value: str, file: str) -> None:
    assert (normal.unlimited(key), normal.file_of(key)) == (value, file)


def test_what_lifts_a_limit_says_that_there_is_none() -> None:
    for name, (_, value) in normal.LIFTED.items():
        for key, said in normal.of_property(name, value, PAGE, node).items():
            assert said == normal.unlimited(key), name

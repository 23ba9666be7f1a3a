"""The whole of a `stats` event: what its readers look for, and that what nobody counts is not in it."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest

from pyoci_systemd.container import interfaces, statistics
from pyoci_systemd.container.resctrlstats import resctrl
from pyoci_systemd.container.store import BLANK, Known
from pyoci_systemd.container.usage import TITLES, cells, count, size, usage
from tests.unit.test_cgroup_stats import CPU_STAT, IO_STAT, MEMORY_EVENTS, MEMORY_STAT, PRESSURE

DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     728      8    0    0    0     0          0         0      728      8    0    0    0     0       0          0
  eth0: 1215034   1021    1    2    0     0          0         0    95678    842    3    4    0     0       0          0
  a:b1:       5      1    0    0    0     0          0         0        6      2    0    0    0     0       0          0
"""
ETH0 = {
    "Name": "eth0",
    "RxBytes": 1215034, "RxPackets": 1021, "RxErrors": 1, "RxDropped": 2,
    "TxBytes": 95678, "TxPackets": 842, "TxErrors": 3, "TxDropped": 4,
}  # fmt: skip
FILES = {
    "cpu.stat": CPU_STAT, "cpu.pressure": PRESSURE, "cpuset.cpus.effective": "0\n", "cpuset.mems.effective": "0\n",
    "cpuset.cpus.partition": "member\n", "memory.current": "65536\n", "memory.max": "131072\n", "memory.peak": "70000\n",
    "memory.events": MEMORY_EVENTS, "memory.stat": MEMORY_STAT, "memory.swap.current": "0\n", "memory.swap.max": "0\n",
    "memory.pressure": PRESSURE, "pids.current": "3\n", "pids.max": "100\n", "io.stat": IO_STAT, "io.pressure": PRESSURE,
    "hugetlb.2MB.current": "0\n", "hugetlb.2MB.events": "max 0\n",
}  # fmt: skip

# what containerd, docker and cAdvisor read of a `stats` event on cgroup v2, each key as the way to it
READ = """
blkio.ioServiceBytesRecursive.0.major
blkio.ioServiceBytesRecursive.0.minor
blkio.ioServiceBytesRecursive.0.op
blkio.ioServiceBytesRecursive.0.value
blkio.ioServicedRecursive.0.value
blkio.psi.full.avg10
blkio.psi.some.total
cpu.psi.full.avg300
cpu.psi.some.avg60
cpu.throttling.periods
cpu.throttling.throttledPeriods
cpu.throttling.throttledTime
cpu.usage.kernel
cpu.usage.total
cpu.usage.user
cpuset.cpu_exclusive
cpuset.cpus.0
cpuset.mems.0
hugetlb.2MB.failcnt
hugetlb.2MB.usage
intel_rdt.cmt_stats.0.llc_occupancy
intel_rdt.l3_cache_info.cbm_mask
intel_rdt.l3_cache_info.min_cbm_bits
intel_rdt.l3_cache_info.num_closids
intel_rdt.l3_cache_schema
intel_rdt.l3_cache_schema_root
intel_rdt.mbm_stats.0.mbm_local_bytes
intel_rdt.mbm_stats.0.mbm_total_bytes
intel_rdt.mem_bw_info.bandwidth_gran
intel_rdt.mem_bw_schema
intel_rdt.mem_bw_schema_root
intel_rdt.schemata.0
memory.cache
memory.kernel.limit
memory.kernelTCP.failcnt
memory.psi.some.avg10
memory.raw.anon
memory.swap.failcnt
memory.swap.limit
memory.swap.usage
memory.usage.failcnt
memory.usage.limit
memory.usage.max
memory.usage.usage
network_interfaces.0.Name
network_interfaces.0.RxBytes
network_interfaces.0.TxDropped
pids.current
pids.limit
"""


@pytest.fixture
def container(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    """Return a container on a machine that has everything."""
    cgroup, rdt = tmp_path / "cgroup", tmp_path / "resctrl"
    cgroup.mkdir()
    for name, text in FILES.items():
        (cgroup / name).write_text(text)
    for name, text in RESCTRL.items():
        (rdt / name).parent.mkdir(parents=True, exist_ok=True)
        (rdt / name).write_text(text)
    monkeypatch.setattr(statistics, "interfaces", lambda pid: interfaces.parsed(DEV))
    monkeypatch.setattr("pyoci_systemd.container.resctrl.mount_point", lambda: str(rdt))
    groups = [str(rdt / "gold"), str(rdt / "gold/mon_groups/web")]
    return Known(**{**{f: getattr(BLANK, f) for f in BLANK.fields}, "cgroup": str(cgroup), "resctrl": groups})


RESCTRL = {
    "info/L3/cbm_mask": "fffff\n", "info/L3/min_cbm_bits": "1\n", "info/L3/num_closids": "16\n",
    "info/MB/bandwidth_gran": "10\n", "info/MB/min_bandwidth": "10\n", "info/MB/num_closids": "8\n",
    "schemata": "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n", "gold/schemata": "    MB:0=20;1=70\n    L3:0=f;1=ff\n",
    "gold/mon_groups/web/mon_data/mon_L3_00/llc_occupancy": "1234\n",
    "gold/mon_groups/web/mon_data/mon_L3_00/mbm_total_bytes": "99\n",
    "gold/mon_groups/web/mon_data/mon_L3_00/mbm_local_bytes": "33\n",
    "gold/mon_groups/web/mon_data/mon_L3_01/llc_occupancy": "Unavailable\n",
}  # fmt: skip


def found(data: Any, way: str) -> bool:
    for step in way.split("."):
        if isinstance(data, list):
            data = data[int(step)] if int(step) < len(data) else {}
        elif step in data:
            data = data[step]
        else:
            return False
    return not isinstance(data, (dict, list))


def test_what_is_read(container: Known) -> None:
    data = statistics.statistics(container)
    assert [way for way in READ.split() if not found(data, way)] == []


def test_of_a_container_that_has_gone() -> None:
    assert statistics.statistics(Known(**{f: getattr(BLANK, f) for f in BLANK.fields} | {"cgroup": "/nowhere"})) == {}


def test_interfaces() -> None:
    eth0, odd = interfaces.parsed(DEV)
    assert eth0 == ETH0
    assert (odd["Name"], odd["RxBytes"], odd["TxPackets"]) == ("a:b1", 5, 2)


def test_interfaces_of_the_host_are_not_the_container_s() -> None:
    assert interfaces.interfaces(os.getpid()) == []
    assert interfaces.interfaces(2**22) == []


def test_resctrl(container: Known) -> None:
    mount = container.resctrl[0].removesuffix("/gold")
    assert resctrl(mount, container.resctrl) == {
        "l3_cache_info": {"cbm_mask": "fffff", "num_closids": 16, "min_cbm_bits": 1},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=f;1=ff",
        "mem_bw_info": {"bandwidth_gran": 10, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=20;1=70",
        "schemata": ["MB:0=20;1=70", "L3:0=f;1=ff"],
        "mbm_stats": [{"mbm_total_bytes": 99, "mbm_local_bytes": 33}],
        "cmt_stats": [{"llc_occupancy": 1234}],
    }
    assert resctrl("", ["/gone"]) == resctrl(mount, []) == {}


# -- the table


def test_usage(container: Known) -> None:
    now = statistics.statistics(container)
    before = {"cpu": {"usage": {"total": now["cpu"]["usage"]["total"] - 500_000_000}}}
    row = usage("web", before, now, 2.0)
    assert row == {
        "id": "web",
        "cpu_percent": 25.0,
        "memory": {"usage": 65536, "limit": 131072},
        "tasks": {"current": 3, "limit": 100},
        "io": {"read": 1830912, "written": 8192},
        "network": {"received": 1215039, "sent": 95684},
        "pressure": {"cpu": 1.53, "memory": 1.53, "io": 1.53},
    }
    shown = ["web", "25.0%", "64.0K of 128.0K", "3 of 100", "1.7M", "8.0K", "1.2M", "93.4K", "1.5%", "1.5%", "1.5%"]
    assert cells(row) == shown
    assert len(shown) == len(TITLES)


def test_usage_that_nobody_counts() -> None:
    row = usage("web", {}, {}, 0.0)
    assert row == {"id": "web"}
    assert cells(row) == ["web", *"-" * (len(TITLES) - 1)]


@pytest.mark.parametrize(("number", "text"), [
    (None, "-"), (0, "0B"), (1023, "1023B"), (1024, "1.0K"), (1536, "1.5K"), (1048575, "1024.0K"), (1048576, "1.0M"),
    (2**40, "1.0T"), (2**64, "16.0E"),
])  # fmt: skip
def test_size(number: int | None, text: str) -> None:
    assert size(number) == text


def test_count() -> None:
    assert (count(None), count(0)) == ("-", "0")

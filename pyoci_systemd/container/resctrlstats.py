"""What resctrl says of a container: its share of caches and bandwidth, and what was counted of their use."""

from __future__ import annotations

import posix

from .. import kernelfs
from ..cgroup.keyed import number, present

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..cgroup.keyed import Data

CACHE = ("num_closids", "min_cbm_bits")
BANDWIDTH = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")


def text(path: str) -> str:
    """Return the text of a file, "" when there is none."""
    try:
        return kernelfs.read(path)
    except OSError:
        return ""


def domains(group: str) -> list[str]:
    """Return the directories with what was counted for each L3 cache of the machine."""
    try:
        names = posix.listdir(f"{group}/mon_data")
    except OSError:
        return []
    return [f"{group}/mon_data/{name}" for name in sorted(names) if name.startswith("mon_L3_")]


def resctrl(mount: str, groups: list[str], text: Callable[[str], str] = text) -> Data:
    """Return `intel_rdt` of a `stats` event. `groups` are the container's: its class, and that which is monitored."""
    if not mount or not groups:
        return {}
    share, root, counted = text(f"{groups[0]}/schemata"), text(f"{mount}/schemata"), domains(groups[-1])

    def counts(*names: str) -> list[Data]:
        return [row for row in (present({n: number(text(f"{d}/{n}")) for n in names}) for d in counted) if row]

    def info(resource: str, names: tuple[str, ...]) -> Data:
        return present({name: number(text(f"{mount}/info/{resource}/{name}")) for name in names})

    return present({
        "l3_cache_info": present({"cbm_mask": text(f"{mount}/info/L3/cbm_mask").strip() or None, **info("L3", CACHE)}),
        "l3_cache_schema_root": line(root, "L3"),
        "l3_cache_schema": line(share, "L3"),
        "mem_bw_info": info("MB", BANDWIDTH),
        "mem_bw_schema_root": line(root, "MB"),
        "mem_bw_schema": line(share, "MB"),
        "schemata": [row.strip() for row in share.splitlines() if row.strip()],
        "mbm_stats": counts("mbm_total_bytes", "mbm_local_bytes"),
        "cmt_stats": counts("llc_occupancy"),
    })  # fmt: skip


def line(schemata: str, resource: str) -> str | None:
    """Return the line of a resource, such as `L3:0=fff;1=fff`."""
    rows = (row.strip() for row in schemata.splitlines())
    return next((row for row in rows if row.partition(":")[0] == resource), None)

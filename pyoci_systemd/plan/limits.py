"""linux.resources as files of a cgroup that we make ourselves (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from .resources import weight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config


def _number(value: int) -> str:
    return "max" if value < 0 else str(value)


def files(config: Config) -> list[tuple[str, str]]:
    """Return (file, value) in the order in which they must be written: memory.max before memory.swap.max."""
    resources = config.get("linux", {}).get("resources", {})
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    result = []
    if memory.get("limit"):
        result.append(("memory.max", _number(memory["limit"])))
    if memory.get("reservation"):
        result.append(("memory.low", _number(memory["reservation"])))
    if memory.get("swap"):
        total = memory["swap"]
        result.append(("memory.swap.max", "max" if total < 0 else str(total - memory.get("limit", 0))))
    if cpu.get("shares"):
        result.append(("cpu.weight", str(weight(cpu["shares"]))))
    if cpu.get("quota") or cpu.get("period"):
        result.append(("cpu.max", f"{_number(cpu.get('quota') or -1)} {cpu.get('period') or 100000}"))
    if cpu.get("cpus"):
        result.append(("cpuset.cpus", cpu["cpus"]))
    if cpu.get("mems"):
        result.append(("cpuset.mems", cpu["mems"]))
    pids = resources.get("pids", {}).get("limit")
    if pids:
        result.append(("pids.max", _number(pids)))
    return result

"""linux.resources.cpu, but for the processors themselves (cpuset.py)."""

from __future__ import annotations

from ...cgroupfile import File
from .numbers import INFINITY, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...spec.types import Resources

    Property = tuple[str, str, object]

SECOND = 1_000_000
PERIOD = 100_000


def properties(resources: Resources) -> list[Property]:
    """Return CPUWeight, CPUQuotaPerSecUSec and CPUQuotaPeriodUSec."""
    asked = resources.get("cpu", {})
    result: list[Property] = []
    if asked.get("idle") == 1:
        result.append(("CPUWeight", "t", 0))
    elif asked.get("shares"):
        result.append(("CPUWeight", "t", weight(asked["shares"])))
    if asked.get("quota"):
        result.append(("CPUQuotaPerSecUSec", "t", per_second(asked["quota"], asked.get("period") or PERIOD)))
    if asked.get("period"):
        result.append(("CPUQuotaPeriodUSec", "t", asked["period"]))
    return result


def files(resources: Resources) -> list[File]:
    """Return cpu.idle, cpu.weight (the kernel refuses one for what is idle), cpu.max and cpu.max.burst."""
    asked = resources.get("cpu", {})
    result = []
    idle = asked.get("idle")
    if idle is not None:
        result.append(File("cpu.idle", str(idle), "cpu.idle"))
    if asked.get("shares") and idle != 1:
        result.append(File("cpu.weight", str(weight(asked["shares"])), "cpu.shares"))
    if asked.get("quota") or asked.get("period"):
        value = f"{number(asked.get('quota') or -1)} {asked.get('period') or PERIOD}"
        result.append(File("cpu.max", value, "cpu.quota" if asked.get("quota") else "cpu.period"))
    if asked.get("burst") is not None:
        result.append(File("cpu.max.burst", str(asked["burst"]), "cpu.burst", above=True))
    return result


def per_second(quota: int, period: int) -> int:
    """Return a quota as systemd counts it: in steps of 10 ms a second; rounded up, so that nobody gets less."""
    return INFINITY if quota < 0 else -(-quota * SECOND // period // 10_000) * 10_000


def weight(shares: int) -> int:
    """Return cpu.shares (2…262144) as cpu.weight (1…10000).

    The curve all runtimes share: 10^((l² + 125 l) / 612 - 7 / 34) with l = log2(shares), rounded up, so that the
    default of 1024 shares is the default weight of 100.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))

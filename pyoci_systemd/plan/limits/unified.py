"""linux.resources.unified: files of the cgroup by their names, written last.

What systemd would overwrite with values of its own is told it as well; a value that it has no word for, or that is not
what this module knows, is the kernel's to judge.
"""

from __future__ import annotations

from ...cgroupfile import File
from ...errors import SpecError
from .cpu import PERIOD, per_second
from .cpuset import mask
from .io import node, weight
from .numbers import INFINITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...spec.types import Resources

    Property = tuple[str, str, object]

SUFFIXES = {"K": 10, "M": 20, "G": 30, "T": 40}  # memparse() of the kernel
AMOUNTS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "memory.zswap.max": "MemoryZSwapMax",
    "pids.max": "TasksMax",
}
# without a property, and of no effect when the cgroup above has less
BOUNDED = ("cpu.max.burst", "cpu.uclamp.min")
BANDWIDTHS = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}


def properties(resources: Resources) -> list[Property]:
    """Return what systemd has a property for."""
    result: list[Property] = []
    for key, value in (resources.get("unified") or {}).items():
        try:
            if key in AMOUNTS:
                result.append((AMOUNTS[key], "t", amount(value)))
            elif key in OTHERS:
                result += OTHERS[key](value)
        except (LookupError, ArithmeticError, ValueError, SpecError):
            continue
    return result


def files(resources: Resources) -> list[File]:
    """Return each file with its lines, which the kernel takes one by one."""
    asked = resources.get("unified") or {}
    return [
        File(key, line, f"unified.{key}", above=key in BOUNDED)
        for key, value in asked.items()
        for line in value.split("\n")
        if line
    ]


def amount(text: str) -> int:
    """Return `max`, bytes, or bytes with a suffix. Raises ValueError."""
    text = text.strip()
    if text == "max":
        return INFINITY
    shift = SUFFIXES.get(text[-1:].upper(), 0)
    return natural(text[:-1] if shift else text) << shift


def natural(text: str) -> int:
    """Return a number in decimal. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError
    return int(text)


def _oom_group(value: str) -> list[Property]:
    return [("OOMPolicy", "s", {"0": "continue", "1": "kill"}[value.strip()])] if value.strip() in ("0", "1") else []


def _cpu_max(value: str) -> list[Property]:
    quota, *period = value.split()
    length = natural(period[0]) if period else PERIOD
    share = INFINITY if quota == "max" else per_second(natural(quota), length)
    result: list[Property] = [("CPUQuotaPerSecUSec", "t", share)]
    return [*result, ("CPUQuotaPeriodUSec", "t", length)] if period else result


def _cpu_weight(value: str) -> list[Property]:
    return [("CPUWeight", "t", natural(value.strip()))]


def _cpu_nice(value: str) -> list[Property]:
    """A step of nice(2) is a quarter more or less; the kernel's own table of weights is the same, rounded."""
    nice = int(value)
    return [("CPUWeight", "t", round(100 * 1.25**-nice))] if -20 <= nice < 20 else []


def _cpu_idle(value: str) -> list[Property]:
    return [("CPUWeight", "t", 0)] if value.strip() == "1" else []


def _allowed(name: str) -> Callable[[str], list[Property]]:
    return lambda value: [(name, "ay", mask(value, ""))]


def _weights(scale: Callable[[int], int]) -> Callable[[str], list[Property]]:
    def properties(value: str) -> list[Property]:
        result: list[Property] = []
        for line in value.splitlines():
            *of, number = line.split()
            if of in ([], ["default"]):
                result.append(("IOWeight", "t", scale(natural(number))))
            else:
                result.append(("IODeviceWeight", "a(st)", [(device(of[0]), scale(natural(number)))]))
        return result

    return properties


def _io_max(value: str) -> list[Property]:
    result: list[Property] = []
    for line in value.splitlines():
        of, *limits = line.split()
        for word in limits:
            kind, _, rate = word.partition("=")
            result.append((BANDWIDTHS[kind], "a(st)", [(device(of), amount(rate))]))
    return result


def _io_latency(value: str) -> list[Property]:
    lines = [line.split() for line in value.splitlines()]
    targets = [(device(of), natural(word.removeprefix("target="))) for of, word in lines]
    return [("IODeviceLatencyTargetUSec", "a(st)", targets)]


def device(text: str) -> str:
    """Return `8:0` as systemd names it. Raises ValueError."""
    major, _, minor = text.partition(":")
    return node(natural(major), natural(minor))


OTHERS: dict[str, Callable[[str], list[Property]]] = {
    "memory.oom.group": _oom_group,
    "cpu.max": _cpu_max,
    "cpu.weight": _cpu_weight,
    "cpu.weight.nice": _cpu_nice,
    "cpu.idle": _cpu_idle,
    "cpuset.cpus": _allowed("AllowedCPUs"),
    "cpuset.mems": _allowed("AllowedMemoryNodes"),
    "io.weight": _weights(int),
    "io.bfq.weight": _weights(weight),
    "io.max": _io_max,
    "io.latency": _io_latency,
}

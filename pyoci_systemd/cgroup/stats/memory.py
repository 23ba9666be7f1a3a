"""Memory, and swap. Pure."""

from __future__ import annotations

from ..keyed import UNLIMITED, flat, number, present
from .pressure import pressure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..keyed import Data, Text


def memory(text: Text) -> Data:
    """Return `memory` of a `stats` event, in bytes; `failcnt` is how often the limit was in the way.

    The keys are of cgroup v1: so `swap` is memory and swap together, and what the kernel holds for the processes, and
    for TCP, has limits that cannot be reached.
    """
    stat, usage = flat(text("memory.stat")), _usage(text)
    return present({
        "cache": stat.get("file"),
        "usage": usage,
        "swap": _with_swap(text, usage),
        "kernel": _unlimited(stat.get("kernel")),
        "kernelTCP": _unlimited(stat.get("sock")),
        "raw": stat,
        "psi": pressure(text("memory.pressure")),
    })  # fmt: skip


def _usage(text: Text) -> dict[str, int]:
    current, limit = number(text("memory.current")), number(text("memory.max"))
    if current is None or limit is None:
        return {}
    entry = {"limit": limit, "usage": current}
    peak = number(text("memory.peak"))
    if peak is not None:  # from Linux 5.19 on
        entry["max"] = peak
    return {**entry, "failcnt": flat(text("memory.events")).get("max", 0)}


def _with_swap(text: Text, memory: dict[str, int]) -> dict[str, int]:
    current, limit = number(text("memory.swap.current")), number(text("memory.swap.max"))
    if not memory or current is None or limit is None:
        return {}
    both = UNLIMITED if UNLIMITED in (limit, memory["limit"]) else limit + memory["limit"]
    failed = flat(text("memory.swap.events")).get("max", 0)
    return {"limit": both, "usage": current + memory["usage"], "failcnt": failed}


def _unlimited(usage: int | None) -> dict[str, int]:
    return {} if usage is None else {"limit": UNLIMITED, "usage": usage, "failcnt": 0}

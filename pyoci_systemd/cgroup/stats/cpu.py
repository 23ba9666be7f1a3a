"""Time on processors. Pure."""

from __future__ import annotations

from ..keyed import flat, present
from .pressure import pressure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..keyed import Data, Text


def cpu(text: Text) -> Data:
    """Return `cpu` of a `stats` event. Times are in nanoseconds."""
    stat = flat(text("cpu.stat"))

    def nanoseconds(key: str) -> int | None:
        return stat[key] * 1000 if key in stat else None

    usage = {
        "total": nanoseconds("usage_usec"),
        "kernel": nanoseconds("system_usec"),
        "user": nanoseconds("user_usec"),
    }
    throttling = {
        "periods": stat.get("nr_periods"),
        "throttledPeriods": stat.get("nr_throttled"),
        "throttledTime": nanoseconds("throttled_usec"),
    }
    return present(
        {"usage": present({**usage}), "throttling": present({**throttling}), "psi": pressure(text("cpu.pressure"))}
    )

"""memory.events: processes that the kernel has killed for want of memory, and why (cgroup-v2.rst)."""

from __future__ import annotations

from .files import Files
from .keyed import flat
from .watched import Watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from select import poll

KILLS = "oom_kill"
POLLPRI = 2  # poll(2)


class Kills:
    """Those of one cgroup and of all below it, counted for as long as there is the cgroup.

    The kernel counts before it kills, and says so within 10 ms: whoever looks when poll(2) finds `fd` ready, and once
    more when a process ends, misses one only if the cgroup has been removed in between.
    """

    def __init__(self, cgroup: str) -> None:
        self._file = Watched(f"{cgroup}/memory.events")
        self.count: int | None = None
        """as last seen; None where no controller counts"""
        self.look()

    @property
    def fd(self) -> int:
        """What to poll for POLLPRI, -1 when there is nothing (any more) to be told."""
        return self._file.fd

    def register(self, watched: poll) -> None:
        """Have the file watched."""
        if self.fd >= 0:
            watched.register(self.fd, POLLPRI)

    def handle(self, ready: Collection[int]) -> None:
        """Look, whatever it was that happened: the cgroup goes soon after its last process."""
        self.look()

    def look(self) -> int:
        """Return how many have been counted since the last look. Raises OSError."""
        before, counts = self.count, flat(self._file.text())
        if KILLS not in counts:
            return 0
        self.count = counts[KILLS]
        return self.count - (before or 0)

    def any(self) -> bool | None:
        """Return whether there was one, None if that is not known: at the end the cgroup may be gone before we look."""
        return True if self.count else False if self.fd >= 0 and self.count is not None else None


def reason(cgroup: str) -> str:
    """Return in words why the kernel killed for want of memory, "" when it did not, or the cgroup has gone."""
    text = Files(cgroup).text
    if not flat(text("memory.events")).get(KILLS):
        return ""
    # counted here alone when the limit that was reached is this cgroup's, and no other's above or below
    here, limit = flat(text("memory.events.local")).get("oom"), text("memory.max").strip()
    return f"out of memory, the limit of {limit} bytes is too low" if here and limit != "max" else "out of memory"

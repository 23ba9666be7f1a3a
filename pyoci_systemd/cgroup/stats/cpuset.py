"""The processors and memory nodes there are. Pure."""

from __future__ import annotations

from ..keyed import numbers, present

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..keyed import Data, Text


def cpuset(text: Text) -> Data:
    """Return `cpuset` of a `stats` event; the rest of what runc says there is of cgroup v1."""
    partition = text("cpuset.cpus.partition").strip()  # `root invalid (…)` where it could not be had
    return present({
        "cpus": numbers(text("cpuset.cpus.effective")),
        "cpu_exclusive": int(partition in ("root", "isolated")) if partition else None,
        "mems": numbers(text("cpuset.mems.effective")),
    })  # fmt: skip

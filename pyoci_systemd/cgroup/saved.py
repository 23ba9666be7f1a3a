"""Limits in the files of a cgroup as they were, to be written back when a change is given up half-way."""

from __future__ import annotations

from .. import log
from ..errors import because
from ..kernelfs import read, write
from .tree import place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..cgroupfile import File

# files with a line for a device, and what to write for one that had none (cgroup-v2.rst)
LIFTED = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "io.latency": "target=0",
    "rdma.max": "hca_handle=max hca_object=max",
}


class Saved:
    """What the files that some limits concern say of one cgroup. Raises Error when there is no such file, OSError."""

    def __init__(self, path: str, limits: Iterable[File]) -> None:
        self._path = path
        self._before = {name: read(f"{path}/{name}") for name, _ in [place(path, limit) for limit in limits]}

    def restore(self) -> None:
        """Write it back. What cannot be is logged: why there is something to restore is what the caller must hear."""
        for name, text in self._before.items():
            try:
                for line in back(name, text, read(f"{self._path}/{name}")):
                    write(f"{self._path}/{name}", line)
            except OSError as error:
                log.warning(because(f"cannot restore `{self._path}/{name}`", error).message)


def back(name: str, before: str, now: str) -> list[str]:
    """Return the lines that make a file say what it said before."""
    lines = before.splitlines() or [""]
    if name in LIFTED:
        had = {line.partition(" ")[0] for line in lines}
        new = [line.partition(" ")[0] for line in now.splitlines()]
        return [f"{device} {LIFTED[name]}" for device in new if device not in had] + [line for line in lines if line]
    return [line or "\n" for line in lines]  # an empty write would not reach the kernel

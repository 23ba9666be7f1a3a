"""cgroup.events: what the kernel says of a cgroup as a whole (cgroups(7))."""

from __future__ import annotations

from errno import ENODEV, ENOENT, ESRCH

from ..kernelfs import read

GONE = (ENOENT, ENODEV, ESRCH)


def event(path: str, key: str) -> bool:
    """Return a flag of cgroup.events, such as `populated` or `frozen`; false when the cgroup has gone."""
    try:
        return f"{key} 1" in read(f"{path}/cgroup.events").split("\n")
    except OSError as error:
        if error.errno in GONE:
            return False
        raise

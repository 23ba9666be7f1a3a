"""cgroup.events: what the kernel says of a cgroup as a whole (cgroups(7))."""

from __future__ import annotations

from ..kernelfs import read


def event(path: str, key: str) -> bool:
    """Return a flag of cgroup.events, such as `populated` or `frozen`; false when the cgroup has gone."""
    try:
        return f"{key} 1" in read(f"{path}/cgroup.events").split("\n")
    except OSError as error:
        if gone(error):
            return False
        raise


def gone(error: OSError) -> bool:
    """Does this error say that there is no such cgroup any more."""
    from errno import ENODEV, ENOENT, ESRCH  # 40 µs that `kill` and `state` can do without

    return error.errno in (ENOENT, ENODEV, ESRCH)

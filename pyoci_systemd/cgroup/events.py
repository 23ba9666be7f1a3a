"""cgroup.events: what the kernel says of a cgroup as a whole (cgroups(7))."""

from __future__ import annotations

from ..errors import Error
from ..kernelfs import exists, read


def event(path: str, key: str) -> bool:
    """Return a flag of cgroup.events, such as `populated` or `frozen`; false when the cgroup has gone."""
    try:
        return f"{key} 1" in read(f"{path}/cgroup.events").split("\n")
    except OSError as error:
        if gone(error):
            return False
        raise


def out_of_memory(path: str) -> bool:
    """Has the kernel killed a process of a cgroup because its memory was full; false where nobody counts that."""
    try:
        lines = read(f"{path}/memory.events").split("\n")
    except OSError:
        return False
    return any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines)


def killed(path: str, entered: bool) -> Error | None:
    """Return what ended the process that was to live in a cgroup, if it was the kernel.

    `entered`: it was there, or in the scope above; where that is gone, its process died before.
    """
    if out_of_memory(path):
        text = "the kernel killed the container's init: out of memory"
        return Error(text, hint="linux.resources.memory.limit is too low")
    if entered and path and not exists(path):
        return Error("the container's init died", hint="linux.resources.memory.limit may be too low")
    return None


def gone(error: OSError) -> bool:
    """Does this error say that there is no such cgroup any more."""
    from errno import ENODEV, ENOENT, ESRCH  # 40 µs that `kill` and `state` can do without

    return error.errno in (ENOENT, ENODEV, ESRCH)

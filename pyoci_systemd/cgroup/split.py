"""A cgroup that is delegated to us, split: `supervisor` for whoever stands in it, `container` for the container.

So a service holds its container within its own cgroup, and nobody is asked for another: what systemd says of the
service, it says of the container, and what it does to the service befalls both. A cgroup that hands controllers down
may hold no process of its own, hence the former half (cgroups(7), "no internal processes").
"""

from __future__ import annotations

import posix

from ..errors import Error, because
from ..kernelfs import whole as whole_file
from ..kernelfs import write
from . import tree

SUPERVISOR, CONTAINER = "supervisor", "container"
# where systemd puts what a delegated service starts besides its main process: ExecStopPost= and the like
CONTROL = ".control"
MOST = 10_000  # processes that are moved
UNITS = (".service", ".scope", ".slice")
# systemd says by one of these that it leaves a cgroup to others
DELEGATED = ("user.delegate", "trusted.delegate")


def whole() -> str:
    """Return the directory of the cgroup that we stand in, undivided. Raises Error."""
    path = tree.of_process(posix.getpid())
    above, _, name = path.rpartition("/")
    return above if name in (SUPERVISOR, CONTROL) else path


def container() -> str:
    """Return the directory of the half that is the container's. Raises Error unless the cgroup is delegated to us."""
    path = whole()
    if not delegated(path):
        raise Error(f"the cgroup `{path}` is not delegated to us", hint="set `Delegate=yes` in its unit")
    return f"{path}/{CONTAINER}"


def delegated(path: str) -> bool:
    """Does systemd leave a cgroup, or one above it, to others. Outside of all units nobody minds.

    A user's manager marks nothing, but has all of its own from PID 1: what it leaves to whom is between these two.
    """
    outside = True
    while path != tree.ROOT:
        if any(map(marked(path).__contains__, DELEGATED)):
            return True
        outside = outside and not path.endswith(UNITS)
        path = path.rpartition("/")[0]
    return outside


def marked(path: str) -> list[str]:
    """Return the extended attributes of a cgroup."""
    try:
        return posix.listxattr(path)
    except OSError:
        return []


def make(path: str) -> None:
    """Empty the cgroup into the supervisor's half, so that it can hand controllers down to the other. Raises Error."""
    above = path.rpartition("/")[0]
    supervisor = f"{above}/{SUPERVISOR}"
    try:
        tree.make(supervisor)
        met: set[str] = set()
        # again and again: one that was about to fork has left a child
        while new := [pid for pid in whole_file(f"{above}/cgroup.procs").split() if pid not in met]:
            met.update(new)
            if len(met) > MOST:
                raise Error(f"cannot split the cgroup `{above}`: its processes fork faster than they can be moved")
            for pid in new:
                move(pid, supervisor)
        tree.make(path)
    except OSError as error:
        raise because(f"cannot split the cgroup `{above}`", error) from None


def move(pid: str, path: str) -> None:
    """Move a process, unless it has gone. Raises OSError."""
    try:
        write(f"{path}/cgroup.procs", pid)
    except ProcessLookupError:
        return

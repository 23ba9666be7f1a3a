"""What is said when the kernel killed an init of ours, or a container, for want of memory: a limit is too low.

memory.events knows, as long as there is the cgroup: systemd removes that of a scope soon after its last process. Then
the kernel's log may still tell.
"""

from __future__ import annotations

from .. import log
from ..cgroup import oom, tree
from ..errors import Error
from ..init.dialogue import Died
from . import kernellog, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..cgroupfile import File
    from .store import Container

    Limits = Sequence[File]

PATIENCE = 1.0  # seconds for a process that has been killed to go
KILLED = 9


def blamed(error: BaseException, pid: int, started: int = 0, limits: Limits = ()) -> BaseException:
    """Return the error of what failed; a better one if it failed because the kernel killed the init `pid`.

    Asked before anything is undone, and before the process is collected if it is ours: it is the first witness, and
    `started` is for who is not its parent. `limits` are those of its cgroup, as far as the caller knows.
    """
    if not pid or not isinstance(error, (Error, OSError)):
        return error
    started = started or process.start_time(pid)
    # one that answered is not waited for
    patience = PATIENCE if isinstance(error, (Died, OSError)) else 0.0
    try:
        if not process.wait_gone(pid, started, patience):
            return error
        status = process.exit_status(pid, started)
        if status not in (KILLED, None):
            return error
        why = reason(tree.of_process(pid) if status else "", pid, started, limits)
    except (Error, OSError) as other:
        log.debug(f"cannot find out why: {other}")
        return error
    return Error(f"the container's init was killed: {why}") if why else error


def reason(cgroup: str, pid: int, started: int, limits: Limits) -> str:
    """Return why the kernel killed a process, or others of its cgroup, for want of memory; "" if nobody says it did."""
    if cgroup and (why := oom.reason(cgroup)):
        return why
    why = kernellog.killed(pid, started)
    for limit in limits:
        if limit.name == "memory.max" and limit.value != "max" and why == kernellog.OF_A_CGROUP:
            return f"out of memory, the limit of {limit.value} bytes is too low"
    return "out of memory" if why else ""


def tell(container: Container, limits: Limits) -> None:
    """Say that a container has been killed by the kernel, if it was."""
    known = container.known
    try:
        if why := reason(known.cgroup, known.pid, known.start_time, limits):
            log.error(f"container `{container.id}` was killed: {why}")
    except Error as other:
        log.debug(f"cannot find out why: {other}")

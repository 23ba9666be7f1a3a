"""What is said when the kernel killed a process of ours, or a container's, for want of memory: a limit is too low."""

from __future__ import annotations

from .. import log
from ..cgroup import oom, tree
from ..errors import Error
from . import process

PATIENCE = 1.0  # seconds for a process that has been killed to go
KILLED = 9


def blamed(error: BaseException, pid: int) -> BaseException:
    """Return the error of what failed; a better one if it failed because the kernel killed the init `pid`.

    Asked before anything is undone, and before the process is collected: it and its cgroup are the witnesses.
    """
    if not pid or not isinstance(error, (Error, OSError)):
        return error
    try:
        reason = oom.reason(tree.of_process(pid))
        if reason and _killed(pid):
            return Error(f"the container's init was killed: {reason}")
    except (Error, OSError) as other:
        log.debug(f"cannot find out why: {other}")
    return error


def _killed(pid: int) -> bool:
    started = process.start_time(pid)
    return process.wait_gone(pid, started, PATIENCE) and process.exit_status(pid, started) == KILLED


def tell(container_id: str, cgroup: str) -> None:
    """Say that a container has been killed, if that is why; its cgroup may have gone already, and nobody knows then."""
    try:
        if reason := oom.reason(cgroup):
            log.error(f"container `{container_id}` was killed: {reason}")
    except Error:
        return

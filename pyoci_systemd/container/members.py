"""Who belongs to a container: the processes of its cgroup or, without one, those of its pid namespace."""

from __future__ import annotations

import posix

from .. import kernelfs
from ..cgroup import tree
from ..errors import Error
from . import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Known

GET_PARENT = 0xB702  # NS_GET_PARENT (ioctl_nsfs(2))


def pids(known: Known) -> set[int]:
    """Return the processes of a container that runs. Raises Error where nothing tells them from others, and OSError."""
    if known.cgroup:
        return {*tree.processes(known.cgroup)}
    if not process.lives(known.pid, known.start_time):
        raise Error(f"`{known.id}`: container not running")
    if not first_of_its_namespace(known.pid):
        raise Error(f"container `{known.id}` has neither a cgroup nor a pid namespace of its own")
    wanted = posix.stat(f"/proc/{known.pid}/ns/pid").st_ino
    return {pid for pid in map(int, filter(str.isdigit, posix.listdir("/proc"))) if is_within(pid, wanted)}


def first_of_its_namespace(pid: int) -> bool:
    """Is it process 1 of a pid namespace that is not our own: then that is the container's alone."""
    status = kernelfs.read(f"/proc/{pid}/status")
    numbers = status.partition("\nNSpid:")[2].partition("\n")[0].split()
    return len(numbers) > 1 and numbers[-1] == "1"


def is_within(pid: int, namespace: int) -> bool:
    """Is a process in the pid namespace with this inode, or in one made in there."""
    from fcntl import ioctl

    try:
        fd = posix.open(f"/proc/{pid}/ns/pid", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False  # it has gone
    try:
        while posix.fstat(fd).st_ino != namespace:
            above = ioctl(fd, GET_PARENT)
            posix.close(fd)
            fd = above
        return True
    except OSError:
        return False  # ours has none above that we could see
    finally:
        posix.close(fd)

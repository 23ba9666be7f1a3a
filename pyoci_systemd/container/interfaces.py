"""What the network interfaces of a container have received and sent (proc_pid_net(5), "dev")."""

from __future__ import annotations

import posix

from ..errors import Error
from ..jsonio import drain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..cgroup.keyed import Data

COLUMNS = ("Bytes", "Packets", "Errors", "Dropped")
SENT = 8  # the column in which what was sent begins


def interfaces(pid: int) -> list[Data]:
    """Return the interfaces of a process but for `lo`; none when it shares the network with us, or is gone."""
    try:
        if posix.readlink(f"/proc/{pid}/ns/net") == posix.readlink("/proc/self/ns/net"):
            return []
        path = f"/proc/{pid}/net/dev"
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            return parsed(drain(fd, path).decode())
        finally:
            posix.close(fd)
    except (OSError, Error):
        return []


def parsed(text: str) -> list[Data]:
    """Return the interfaces that a `dev` file tells of, as runc writes them. Pure."""
    found: list[Data] = []
    for line in text.splitlines():
        name, colon, rest = line.rpartition(":")  # a name may have colons in it
        counts = rest.split()
        if colon and len(counts) >= SENT + len(COLUMNS) and name.strip() != "lo":
            interface: Data = {"Name": name.strip()}
            for way, first in (("Rx", 0), ("Tx", SENT)):
                interface.update({way + what: int(counts[first + at]) for at, what in enumerate(COLUMNS)})
            found.append(interface)
    return found

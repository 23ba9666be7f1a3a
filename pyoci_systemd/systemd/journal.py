"""The journal: entries by its native protocol, and streams of lines (systemd-journald.service(8))."""

from __future__ import annotations

from ..errors import because
from ..sinks import JOURNAL, PATIENCE, datagrams, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

STREAM = "/run/systemd/journal/stdout"
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # syslog(3)


def send(fields: Mapping[str, str]) -> None:
    """Send one entry; a field that is "" is left out. Raises OSError."""
    datagrams(JOURNAL)("".join(f"{name}={one_line(value)}\n" for name, value in fields.items() if value))


def stream(identifier: str, priority: int, unit: str = "") -> int:
    """Return a descriptor of which each line that is written becomes an entry. Raises Error.

    Whatever a line begins with, its priority is this one: who may write `<0>` may write on every terminal. The entry
    names the unit of who writes it; `unit` where they have gone before the journal could look.
    """
    import _socket

    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    socket.settimeout(PATIENCE)
    try:
        socket.connect(STREAM)
        socket.shutdown(_socket.SHUT_RD)
        # identifier, unit, priority; whether prefixes are read, forwarded to syslog, kmsg and console
        socket.sendall(f"{one_line(identifier)}\n{unit}\n{priority}\n0\n0\n0\n0\n".encode())
    except OSError as error:
        socket.close()
        raise because(f"cannot write to the journal by `{STREAM}`", error) from None
    socket.setblocking(True)  # as programs expect of their output
    return socket.detach()

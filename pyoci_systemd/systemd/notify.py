"""sd_notify(3): what a service tells the manager that supervises it, in datagrams of KEY=VALUE lines."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket

from ..errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

READY = b"READY=1"
LONGEST_PATH = 107  # of sun_path
PATIENCE = 5.0  # seconds: the manager reads at once, but its queue may be full


class Manager:
    """The service manager, by its socket: `address` is a path or, after `@`, an abstract name."""

    def __init__(self, address: str) -> None:
        self._place = place(address)

    def tell(self, lines: Sequence[bytes]) -> None:
        """Send a message. Raises OSError.

        The manager looks at who sent it: a process that NotifyAccess= admits, and that still lives when it looks.
        """
        end = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            end.settimeout(PATIENCE)
            end.connect(self._place)
            end.sendall(b"\n".join(lines))
        finally:
            end.close()


def place(address: str) -> bytes:
    """Return the address for connect(2) of what NOTIFY_SOCKET says. Raises Error."""
    raw = address.encode("utf-8", "surrogateescape")
    if address[:1] not in ("/", "@") or len(raw) < 2 or len(raw) > LONGEST_PATH:
        raise Error(f"NOTIFY_SOCKET: `{address}` is no socket")
    return b"\0" + raw[1:] if raw[:1] == b"@" else raw

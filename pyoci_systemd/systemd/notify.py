"""sd_notify(3): what a service tells the manager that supervises it. One datagram, without a library."""

from __future__ import annotations

from ..errors import Error, because

READY = "READY=1"
PATIENCE = 5.0  # seconds: systemd reads at once, but its queue may be full


def refuse(address: str) -> None:
    """Raise Error for what cannot be the value of NOTIFY_SOCKET: a path, or `@` and an abstract name."""
    if not address:
        raise Error("NOTIFY_SOCKET is not set: systemd does not wait for a word of us")
    if len(address) < 2 or address[0] not in "/@":
        raise Error(f"NOTIFY_SOCKET: `{address}` is neither a path nor an abstract name")


def send(address: str, *lines: str) -> None:
    """Send assignments, one a line, to the socket that NOTIFY_SOCKET names. Raises Error.

    The manager takes them from whom the unit's NotifyAccess= admits, and looks at the pid while the sender lives.
    """
    refuse(address)
    import _socket  # a service alone has somebody to tell

    name = address.encode("utf-8", "surrogateescape")
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        socket.settimeout(PATIENCE)
        socket.connect(b"\0" + name[1:] if name[:1] == b"@" else name)
        socket.sendall("\n".join(lines).encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise because(f"cannot tell systemd by `{address}`", error) from None
    finally:
        socket.close()

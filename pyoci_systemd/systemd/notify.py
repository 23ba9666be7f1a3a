"""What a service tells its manager (sd_notify(3)): which of it may be passed on for somebody else, and the passing.

A message is lines of KEY=VALUE, and descriptors with some of them. Pure but for `Manager`.
"""

from __future__ import annotations

from _socket import AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET, socket
from _struct import pack
from errno import ETIMEDOUT
from select import POLLOUT, poll
from time import monotonic

from ..errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST = 4096  # bytes of a message that systemd takes (NOTIFY_BUFFER_MAX)
READY, BARRIER = b"READY=1", b"BARRIER=1"
STORE = b"FDSTORE=1"
LONGEST_PATH = 107  # of sun_path


def is_number(value: bytes) -> bool:
    """Is this a number as systemd reads one."""
    return value.isdigit() and len(value) <= 20


def one_of(*values: bytes) -> Callable[[bytes], bool]:
    """Return what says whether a value is one of these."""
    return lambda value: value in values


# What the program of a container may say. MAINPID and whatever else steers the service is its runtime's to say; keys
# that systemd will have tomorrow are not passed on before somebody has thought about them.
ALLOWED: dict[bytes, Callable[[bytes], bool]] = {
    b"READY": one_of(b"1"),
    b"RELOADING": one_of(b"1"),
    b"STOPPING": one_of(b"1"),
    b"STATUS": lambda value: True,
    b"ERRNO": is_number,
    b"MONOTONIC_USEC": is_number,
    b"WATCHDOG": one_of(b"1", b"trigger"),
    b"WATCHDOG_USEC": is_number,
    b"EXTEND_TIMEOUT_USEC": is_number,
}
# where the service's description says that it keeps descriptors for the container
STORING: dict[bytes, Callable[[bytes], bool]] = {
    b"FDSTORE": one_of(b"1"),
    b"FDSTOREREMOVE": one_of(b"1"),
    b"FDNAME": lambda value: True,
    b"FDPOLL": one_of(b"0", b"1"),
}


def passed_on(message: bytes, storing: bool = False) -> list[bytes]:
    """Return the lines of a message that are passed on. `storing`: those about kept descriptors too.

    A barrier stands alone, as systemd wants it.
    """
    lines = message.removesuffix(b"\0").removesuffix(b"\n").split(b"\n")
    if b"\0" in b"".join(lines):
        return []
    if BARRIER in lines:
        return [BARRIER] if len(lines) == 1 else []
    known = {**ALLOWED, **STORING} if storing else ALLOWED
    parts = [(line, *line.partition(b"=")) for line in lines]
    return [line for line, key, mark, value in parts if mark and key in known and known[key](value)]


def shifted(line: bytes, offset: int) -> bytes:
    """Return a line in the manager's time, where the container's clock is `offset` µs ahead (time_namespaces(7))."""
    key, _, value = line.partition(b"=")
    return b"%s=%d" % (key, max(int(value) - offset, 0)) if offset and key == b"MONOTONIC_USEC" else line


class Manager:
    """The service manager, by its socket: `address` is a path or, after `@`, an abstract name."""

    def __init__(self, address: str) -> None:
        self._place = place(address)
        self._end: socket | None = None

    def fileno(self) -> int:
        """Return what can be written to when the manager takes messages again; -1 when nothing has been said yet."""
        return self._end.fileno() if self._end else -1

    def tell(self, lines: Sequence[bytes], fds: Sequence[int] = ()) -> bool:
        """Send a message; false when the manager cannot take one now. Raises OSError when there is no manager."""
        try:
            return self._send(lines, fds)
        except ConnectionError:
            self.close()
            return self._send(lines, fds)  # another one listens there by now

    def insist(self, lines: Sequence[bytes], patience: float) -> None:
        """Send a message, waiting so many seconds for a manager that is busy. Raises OSError."""
        deadline = monotonic() + patience
        while not self.tell(lines):
            left = deadline - monotonic()
            if left <= 0:
                raise OSError(ETIMEDOUT, "")
            watched = poll()
            watched.register(self.fileno(), POLLOUT)
            watched.poll(left * 1000)

    def _send(self, lines: Sequence[bytes], fds: Sequence[int]) -> bool:
        rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"={len(fds)}i", *fds))] if fds else []
        if self._end is None:
            end = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
            try:
                end.connect(self._place)
            except OSError:
                end.close()
                raise
            self._end = end
        try:
            self._end.sendmsg([b"\n".join(lines)], rights, MSG_DONTWAIT | MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        if self._end:
            self._end.close()
        self._end = None


def place(address: str) -> bytes:
    """Return the address for bind(2) and connect(2) of what NOTIFY_SOCKET says. Raises Error."""
    raw = address.encode("utf-8", "surrogateescape")
    if address.startswith("vsock"):
        raise Error(f"NOTIFY_SOCKET: `{address}`: a manager outside of this virtual machine (vsock) is not supported")
    if address[:1] not in ("/", "@") or len(raw) < 2 or len(raw) > LONGEST_PATH:
        raise Error(f"NOTIFY_SOCKET: `{address}` is no socket")
    return b"\0" + raw[1:] if raw[:1] == b"@" else raw

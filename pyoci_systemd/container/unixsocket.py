"""Unix sockets by paths of any length: sun_path holds 107 bytes, so they are named below a descriptor (unix(7))."""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket
from _struct import pack
from errno import ENAMETOOLONG

from ..errors import because

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


LONGEST = 80  # bytes of a name: what a descriptor's directory leaves of sun_path


def listen(path: str, backlog: int = 16) -> socket:
    """Return a socket that listens at `path`. Raises OSError."""

    def wait_at(gate: socket, name: str) -> None:
        gate.bind(name)
        gate.listen(backlog)

    return _at(path, wait_at)


def gate(path: str) -> socket:
    """Return the socket at which a created container waits for `start`. Raises Error."""
    try:
        return listen(path)
    except OSError as error:
        raise because(f"cannot make `{path}`", error) from None


def receiver(path: str) -> socket:
    """Return a socket that takes datagrams at `path`. Raises OSError."""
    return _at(path, lambda end, name: end.bind(name), SOCK_DGRAM)


def connect(path: str, timeout: float, kind: int = SOCK_STREAM) -> socket:
    """Return a connection to whoever listens at `path`, with `timeout` seconds for each step. Raises OSError."""

    def reach(peer: socket, name: str) -> None:
        peer.settimeout(timeout)
        peer.connect(name)

    return _at(path, reach, kind)


def send(path: str, text: bytes, fd: int, timeout: float) -> None:
    """Send a text with a descriptor to whoever listens at `path`. Raises OSError."""
    peer = connect(path, timeout)
    try:
        peer.sendmsg([text], [(SOL_SOCKET, SCM_RIGHTS, pack("=i", fd))])
    finally:
        peer.close()


def _at(path: str, use: Callable[[socket, str], None], kind: int = SOCK_STREAM) -> socket:
    directory, _, name = path.rpartition("/")
    if len(name.encode("utf-8", "surrogateescape")) > LONGEST:
        raise OSError(ENAMETOOLONG, posix.strerror(ENAMETOOLONG))
    fd = posix.open(directory or ("/" if path[:1] == "/" else "."), posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    end = socket(AF_UNIX, kind | SOCK_CLOEXEC)
    try:
        use(end, f"/proc/self/fd/{fd}/{name}")
    except OSError:
        end.close()
        raise
    finally:
        posix.close(fd)
    return end

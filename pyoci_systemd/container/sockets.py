"""`run --socket`: listening sockets of our own making, for a try without a .socket unit.

An address is what ListenStream= of systemd.socket(5) takes: a path, `@` and an abstract name, a port, an address of
IPv4 or (in brackets) IPv6 with a port, or `vsock:CID:PORT`; `NAME=` before it names the descriptor.
"""

from __future__ import annotations

import posix
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    AF_VSOCK,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    SOMAXCONN,
    inet_pton,
    socket,
)
from errno import EADDRINUSE, EAFNOSUPPORT

from .. import log
from ..errors import Error, because
from ..plan import vsock
from ..record import Record
from . import unixsocket
from .activation import check_name

OPTION = "--socket"
MODE = 0o666  # SocketMode= by default
KIND, SOCKET = 0o170000, 0o140000  # S_IFMT and S_IFSOCK


class Address(Record):
    """Where to listen."""

    text: str
    """as it was asked for"""
    name: str
    family: int
    place: str
    """a path from the root, an abstract name after a NUL, an address, or a context id"""
    port: int = 0


def parse(text: str) -> Address:
    """Return the address that `--socket` names. Raises Error."""
    name, mark, rest = text.partition("=")
    if not mark or text[0] in "/@":
        name, rest = "", text
    check_name(name, OPTION)
    if rest[:1] == "/":
        return Address(rest, name, AF_UNIX, rest)
    if rest[:1] == "@" and len(rest) > 1:
        return Address(rest, name, AF_UNIX, "\0" + rest[1:])
    if found := vsock.parse(rest):
        return Address(rest, name, AF_VSOCK, str(found[0]), found[1])
    place, mark, number = rest.rpartition(":")
    port = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 0
    if not 0 < port < 1 << 16:
        raise malformed(text)
    if not mark:
        return Address(rest, name, AF_INET6, "::", port)
    family = AF_INET6 if place[:1] == "[" and place[-1:] == "]" else AF_INET
    place = place[1:-1] if family == AF_INET6 else place
    try:
        inet_pton(family, place)
    except (OSError, ValueError):
        raise malformed(text) from None
    return Address(rest, name, family, place, port)


def malformed(text: str) -> Error:
    """Return the Error for what is no address."""
    kinds = "a path from the root, @NAME, PORT, IPV4:PORT, [IPV6]:PORT or vsock:[CID]:PORT"
    return Error(f"{OPTION} `{text}`: no address to listen on", hint=f"it may be {kinds}, with NAME= before it")


def listen(address: Address) -> socket:
    """Return a socket that listens there. Raises Error."""
    try:
        if address.family == AF_VSOCK:
            return bound(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC), (int(address.place), address.port))
        return unix(address) if address.family == AF_UNIX else internet(address)
    except OSError as error:
        raise because(f"{OPTION} `{address.text}`", error) from None


def unix(address: Address) -> socket:
    """Return a socket at a path or abstract name; the dead one of a former run gives way. Raises OSError, Error."""
    place = address.place.encode("utf-8", "surrogateescape")
    if place[:1] == b"\0":
        return bound(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC), place)
    parent, name = opened(address.place)
    mask = posix.umask(0o777 & ~MODE)
    try:
        clear(parent, name)
        # by its own name, however short that has to be: servers ask for it (sd_is_socket_unix(3))
        end = bound(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC), place)
        if kind(parent, name) != SOCKET:
            end.close()
            remove([address.place])  # wherever that leads now
            raise Error(f"{OPTION} `{address.text}`: its directory is not where it was a moment ago")
        return end
    finally:
        posix.umask(mask)
        posix.close(parent)


def internet(address: Address) -> socket:
    """Return a socket at a port, of IPv4 too where no address is named. Raises OSError."""
    try:
        end = socket(address.family, SOCK_STREAM | SOCK_CLOEXEC)
    except OSError as error:
        if error.errno != EAFNOSUPPORT or address.place != "::":
            raise
        # a host without IPv6
        end, place = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC), "0.0.0.0"
    else:
        place = address.place
        if address.family == AF_INET6:
            end.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, int(place != "::"))
    end.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    return bound(end, (place, address.port))


def bound(end: socket, place: bytes | tuple[str | int, int]) -> socket:
    """Return the socket, listening at `place`. Raises OSError, and it is closed."""
    try:
        end.bind(place)
        end.listen(SOMAXCONN)
    except OSError:
        end.close()
        raise
    return end


def paths(addresses: list[Address]) -> list[str]:
    """Return what there will be in the file system of these sockets."""
    return [a.place for a in addresses if a.family == AF_UNIX and a.place[0] != "\0"]


def check(addresses: list[Address]) -> None:
    """Refuse what cannot be listened on, as far as that can be known without doing it. Raises Error."""
    for path in paths(addresses):
        try:
            parent, name = opened(path)
        except OSError as error:
            raise because(f"{OPTION} `{path}`", error) from None
        free = not kind(parent, name) or is_dead(parent, name)
        posix.close(parent)
        if not free:
            raise Error(f"{OPTION} `{path}`: {posix.strerror(EADDRINUSE)}")


def remove(made: list[str]) -> None:
    """Remove the sockets of a container that has gone, less those that are somebody else's by now."""
    for path in made:
        try:
            parent, name = opened(path)
        except OSError:
            continue  # gone with its directory
        try:
            clear(parent, name)
        except OSError as error:
            log.warning(because(f"cannot remove `{path}`", error).message)
        finally:
            posix.close(parent)


# -- a path is resolved once; all that is done to the socket is done by its name in the directory found there


def opened(path: str) -> tuple[int, str]:
    """Return a descriptor of the directory above a path, and the name in it. Raises OSError."""
    directory, _, name = path.rpartition("/")
    return posix.open(directory or "/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC), name


def kind(parent: int, name: str) -> int:
    """Return of what kind (S_IFMT) that name is, 0 when there is nothing of it."""
    try:
        return posix.lstat(name, dir_fd=parent).st_mode & KIND
    except OSError:
        return 0


def is_dead(parent: int, name: str) -> bool:
    """Is there a socket of that name on which nobody listens any more."""
    if kind(parent, name) != SOCKET:
        return False
    try:
        unixsocket.connect(f"/proc/self/fd/{parent}/{name}", 0).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def clear(parent: int, name: str) -> None:
    """Remove a dead socket of that name. Raises OSError."""
    if is_dead(parent, name):
        posix.unlink(name, dir_fd=parent)

"""A small client of rtnetlink(7), over any socket of that family: one of another network namespace acts there."""

from __future__ import annotations

import posix
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket
from _struct import pack, unpack_from

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0
BUFFER = 1 << 16  # the kernel's own messages are half as long

# linux/netlink.h
REQUEST, ACK, DUMP, CREATE = 0x1, 0x4, 0x300, 0x400
ERROR, DONE = 2, 3
HEADER = 16

# linux/rtnetlink.h
NEWLINK, GETLINK, SETLINK, NEWADDR, GETADDR = 16, 18, 19, 20, 22
# linux/if_link.h, linux/if.h
IFNAME, NET_NS_FD, NEW_IFINDEX = 3, 28, 49
UP = 1
# linux/if_addr.h
LABEL, ADDRESS_FLAGS = 3, 8
PERMANENT = 0x80
KEPT_FLAGS = 0x02 | 0x10 | 0x100 | 0x200 | 0x400  # what was asked for, not what became of it
GLOBAL = 0


class Link(Record):
    """A network device."""

    index: int
    name: str
    up: bool


class Address(Record):
    """An address of a device, with its attributes as the kernel tells them."""

    family: int
    prefix: int
    scope: int
    flags: int
    attributes: list[tuple[int, bytes]]

    def of(self, old: str, new: str) -> list[tuple[int, bytes]]:
        """Return the attributes for the device by a new name: a label begins with the name."""
        result = [(ADDRESS_FLAGS, pack("=I", self.flags & KEPT_FLAGS))]
        for kind, value in self.attributes:
            if kind == LABEL and value.rstrip(b"\0").split(b":")[0] == old.encode():
                value = new.encode() + value[len(old.encode()) :]
            if kind != ADDRESS_FLAGS:
                result.append((kind, value))
        return result


class Network:
    """The network namespace of a socket. Every call raises OSError with the kernel's errno."""

    def __init__(self, fd: int = -1) -> None:
        flags = SOCK_RAW | SOCK_CLOEXEC
        self._socket = socket(AF_NETLINK, SOCK_RAW, 0, fd) if fd >= 0 else socket(AF_NETLINK, flags, 0)
        self._socket.settimeout(PATIENCE)
        self._number = 0

    def close(self) -> None:
        """Close the socket. It keeps its network namespace alive until then."""
        self._socket.close()

    def link(self, name: str) -> Link:
        """Return a device by its name."""
        return self._link(0, [(IFNAME, name.encode() + b"\0")])

    def link_at(self, index: int) -> Link:
        """Return a device by its number."""
        return self._link(index, [])

    def _link(self, index: int, named: list[tuple[int, bytes]]) -> Link:
        (answer,) = self._ask(GETLINK, ACK, _link(index), named)
        found, flags = unpack_from("=iI", answer, 4)
        return Link(found, _text(dict(attributes(answer, 16))[IFNAME]), bool(flags & UP))

    def move(self, index: int, namespace: int, name: str, number: int = 0) -> None:
        """Move a device to the network namespace of a descriptor, by another name. It is down then.

        `number` is what it is to be numbered there, if that matters.
        """
        wanted = [(NEW_IFINDEX, pack("=i", number))] if number else []
        where = [(NET_NS_FD, pack("=I", namespace)), (IFNAME, name.encode() + b"\0")]
        self._ask(SETLINK, ACK, _link(index), where + wanted)

    def rename(self, index: int, name: str) -> None:
        """Give a device a name; the kernel puts the first number that is free in the place of `%d`."""
        self._ask(SETLINK, ACK, _link(index), [(IFNAME, name.encode() + b"\0")])

    def bring_up(self, index: int) -> None:
        """Bring a device up."""
        self._ask(SETLINK, ACK, _link(index, UP, UP), [])

    def addresses(self, index: int) -> list[Address]:
        """Return the permanent addresses of global scope that a device has, of every family."""
        found = []
        for answer in self._ask(GETADDR, DUMP, bytes(8), []):
            family, prefix, flags, scope, where = unpack_from("=BBBBI", answer)
            listed = list(attributes(answer, 8))
            more = dict(listed).get(ADDRESS_FLAGS)
            if more:
                (flags,) = unpack_from("=I", more)  # all of them: the field in the header holds eight
            if where == index and scope == GLOBAL and flags & PERMANENT:
                found.append(Address(family, prefix, scope, flags, listed))
        return found

    def add(self, link: Link, address: Address, old: str) -> None:
        """Give a device an address that it had when it was called `old`."""
        header = pack("=BBBBI", address.family, address.prefix, 0, address.scope, link.index)
        self._ask(NEWADDR, ACK | CREATE, header, address.of(old, link.name))

    def _ask(self, kind: int, flags: int, header: bytes, listed: list[tuple[int, bytes]]) -> list[bytes]:
        """Send a request and return what it is answered with, without the headers."""
        self._number += 1
        body = header + b"".join(_attribute(*pair) for pair in listed)
        self._socket.send(pack("=IHHII", HEADER + len(body), kind, REQUEST | flags, self._number, 0) + body)
        answers: list[bytes] = []
        while True:
            for what, body in self._messages():
                if what == ERROR:
                    (error,) = unpack_from("=i", body)
                    if error:
                        raise OSError(-error, posix.strerror(-error))
                if what in (ERROR, DONE):
                    return answers
                answers.append(body)

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """Yield the messages of one datagram that answer the last request: kind and body."""
        data = self._socket.recv(BUFFER)
        at = 0
        while at + HEADER <= len(data):
            size, kind, _, number = unpack_from("=IHHI", data, at)
            if number == self._number:
                yield kind, data[at + HEADER : at + size]
            at += _aligned(max(size, HEADER))


def attributes(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes of a message from an offset on: kind and value."""
    while at + 4 <= len(data):
        size, kind = unpack_from("=HH", data, at)
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += _aligned(max(size, 4))


def _link(index: int, flags: int = 0, change: int = 0) -> bytes:
    return pack("=BxHiII", 0, 0, index, flags, change)


def _attribute(kind: int, value: bytes) -> bytes:
    return (pack("=HH", 4 + len(value), kind) + value).ljust(_aligned(4 + len(value)), b"\0")


def _aligned(size: int) -> int:
    return size + 3 & ~3


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")

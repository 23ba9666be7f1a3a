"""The rtnetlink client: what it makes of the kernel's messages, and how it asks."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from pyoci_systemd.container import rtnetlink
from pyoci_systemd.container.rtnetlink import Address, Network

LABEL, LOCAL, FLAGS = 3, 2, 8


@pytest.mark.parametrize(("label", "renamed"), [
    (b"eth0\0", b"lan\0"), (b"eth0:1\0", b"lan:1\0"), (b"eth01\0", b"eth01\0"), (b"web\0", b"web\0"),
])  # fmt: skip
def test_label_follows_the_name(label: bytes, renamed: bytes) -> None:
    address = Address(2, 24, 0, 0x80, [(LOCAL, b"\1\2\3\4"), (LABEL, label)])
    assert dict(address.of("eth0", "lan")) == {FLAGS: bytes(4), LOCAL: b"\1\2\3\4", LABEL: renamed}


def test_flags_that_are_the_kernel_s_to_set_are_left_to_it() -> None:
    """Permanent, tentative, deprecated, secondary: what became of an address. `noprefixroute` and `nodad` were asked for."""
    address = Address(10, 64, 0, 0x80 | 0x40 | 0x20 | 0x01 | 0x200 | 0x02, [(FLAGS, b"????")])
    assert address.of("a", "b") == [(FLAGS, struct.pack("=I", 0x202))]


@pytest.mark.parametrize("data", [b"", b"\4", b"\4\0\1", b"\0\0\1\0", b"\2\0\1\0", b"\xff\xff\1\0abc"])
def test_attributes_that_are_cut_short_end(data: bytes) -> None:
    assert len(list(rtnetlink.attributes(data, 0))) <= 1


class Peer:
    """The other end of the client's socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket = theirs
        self.network = Network()
        self.network.close()
        self.network._socket = ours

    def answer(self, kind: int, body: bytes, number: int = 1) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), kind, 0, number, 0) + body


@pytest.fixture
def peer() -> Iterator[Peer]:
    try:
        made = Peer()
    except OSError as error:
        pytest.skip(f"rtnetlink: {os.strerror(error.errno or 0)}")
    yield made
    made.network.close()
    made.socket.close()


def test_request_and_answers(peer: Peer) -> None:
    """A dump comes in as many datagrams as it takes; what answers something else is passed over."""
    one, other = (struct.pack("=BBBBI", 2, 24, 0x80, scope, 7) for scope in (0, 253))
    elsewhere = struct.pack("=BBBBI", 2, 24, 0x80, 0, 8)
    lent = struct.pack("=BBBBI", 2, 24, 0, 0, 7)
    by_attribute = struct.pack("=BBBBIHHI", 10, 64, 0, 0, 7, 8, FLAGS, 0x280)
    peer.socket.send(peer.answer(20, one, number=99) + peer.answer(20, one) + peer.answer(20, other))
    peer.socket.send(peer.answer(20, elsewhere) + peer.answer(20, lent) + peer.answer(20, by_attribute))
    peer.socket.send(peer.answer(3, bytes(4)))
    found = peer.network.addresses(7)
    assert [(address.family, address.prefix, address.flags) for address in found] == [(2, 24, 0x80), (10, 64, 0x280)]
    size, kind, flags, number, _ = struct.unpack_from("=IHHII", peer.socket.recv(100))
    assert (size, kind, flags, number) == (24, 22, 0x301, 1)


def test_refusal(peer: Peer) -> None:
    peer.socket.send(peer.answer(2, struct.pack("=i", -errno.EEXIST) + bytes(16)))
    with pytest.raises(FileExistsError):
        peer.network.rename(7, "eth0")
    request = peer.socket.recv(100)
    assert struct.unpack_from("=IHH", request) == (len(request), 19, 0x5)
    assert request.endswith(struct.pack("=HH", 9, 3) + b"eth0\0\0\0\0")


def test_kernel_s_own_loopback() -> None:
    network = Network()
    link = network.link("lo")
    assert (link.name, link) == ("lo", network.link_at(link.index))
    with pytest.raises(OSError, match=r"\[Errno 19\]"):
        network.link("no-such-link")
    network.close()

"""The bus client against a peer we script: a thread at the other end of a socket pair."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyoci_systemd.errors import BusError
from pyoci_systemd.systemd import bus as bus_module
from pyoci_systemd.systemd import wire
from pyoci_systemd.systemd.bus import Bus, socket_path, system_address

PATIENCE = 20.0  # seconds that only a failure takes, or a machine that is very busy
TARGET = ("org.a", "/a", "org.a.I")
AUTH = b"\0AUTH EXTERNAL\r\nDATA\r\n"


def message(kind: int, fields: dict[int, Any], signature: str = "", values: tuple[Any, ...] = ()) -> bytes:
    """Return a message as a broker sends one; `fields` by their code in the specification."""
    body = wire.marshal(signature, values)
    if signature:
        fields = {**fields, 8: signature}
    array = [(code, (wire.FIELDS[code][1], value)) for code, value in fields.items()]
    head = wire.marshal("yyyyuua(yv)", (ord("l"), kind, 1, 1, len(body), 77, array))
    return head + bytes(-len(head) % 8) + body


def answer(serial: int, signature: str = "", *values: Any) -> bytes:
    return message(wire.RETURN, {5: serial, 7: ":1.0"}, signature, values)


def error(serial: int, name: str, *text: str) -> bytes:
    return message(wire.ERROR, {5: serial, 4: name}, "s" * len(text), text)


def signal(member: str, *values: str) -> bytes:
    return message(wire.SIGNAL, {1: "/a", 2: "org.a.I", 3: member, 7: ":1.0"}, "s" * len(values), values)


class Peer:
    """The other end, blocking."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        self.data = b""

    def _need(self, size: int) -> None:
        while len(self.data) < size:
            more = self.sock.recv(65536)
            assert more, "the client hung up"
            self.data += more

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        self._need(size)
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def call(self) -> wire.Message:
        """Return the next message."""
        self._need(16)
        return wire.parse(self.take(wire.length(self.data[:16])))

    def greet(self) -> None:
        """Do the broker's part of the handshake."""
        assert self.take(len(AUTH) + 7) == AUTH + b"BEGIN\r\n"
        self.sock.sendall(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n")
        hello = self.call()
        assert (hello.destination, hello.member) == ("org.freedesktop.DBus", "Hello")
        self.sock.sendall(answer(hello.serial, "s", ":1.7") + signal("NameAcquired", ":1.7"))


@contextlib.contextmanager
def played(part: Callable[[Peer], None]) -> Iterator[Bus]:
    """Yield a client whose peer plays `part`; what went wrong there is raised here."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    trouble: list[BaseException] = []

    def play() -> None:
        try:
            part(Peer(theirs))
        except BaseException as caught:
            trouble.append(caught)
        finally:
            theirs.close()

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    with Bus(ours) as bus:
        yield bus
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if trouble:
        raise trouble[0]


def soon(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


def test_handshake_and_call() -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        call = peer.call()
        assert (call.destination, call.path, call.interface, call.member) == (*TARGET, "Add")
        assert call.values() == (1, "x")
        peer.sock.sendall(answer(call.serial, "u", 3))

    with played(part) as bus:
        bus.greet(soon())
        assert bus.call(*TARGET, "Add", "us", (1, "x"), deadline=soon()) == (3,)


def test_every_cut_of_the_stream_is_joined() -> None:
    def part(peer: Peer) -> None:
        peer.take(len(AUTH) + 7)
        hello, call = peer.call(), peer.call()
        for byte in b"DATA\r\nOK 0\r\n" + answer(hello.serial, "s", ":1.7") + answer(call.serial, "s", "done"):
            peer.sock.send(bytes([byte]))

    with played(part) as bus:
        bus.greet(soon())
        assert bus.call(*TARGET, "Do", deadline=soon()) == ("done",)


def test_signals_before_the_reply_are_kept_in_order() -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        call = peer.call()
        peer.sock.sendall(signal("One") + signal("Two", "2") + answer(call.serial) + signal("Three"))

    with played(part) as bus:
        bus.greet(soon())
        serial = bus.send(*TARGET, "Do", deadline=soon())
        assert bus.wait_signal(lambda s: s.member == "Two", soon()).values() == ("2",)
        assert bus.reply(serial, soon()).sender == ":1.0"
        members = [bus.next_signal(soon()).member for _ in range(3)]
        assert members == ["NameAcquired", "One", "Three"]


def test_replies_may_come_in_any_order() -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        first, second = peer.call(), peer.call()
        peer.sock.sendall(answer(second.serial, "s", second.member) + answer(first.serial, "s", first.member))

    with played(part) as bus:
        bus.greet(soon())
        first, second = (bus.send(*TARGET, member, deadline=soon()) for member in ("First", "Second"))
        assert bus.reply(first, soon()).values() == ("First",)
        assert bus.reply(second, soon()).values() == ("Second",)


@pytest.mark.parametrize(
    ("text", "message_text"),
    [
        (("Unit x.scope not loaded.",), "Unit x.scope not loaded"),
        (("Invalid unit name a\nb",), "Invalid unit name a b"),
        ((), "org.a.Nope"),
        (("",), "org.a.Nope"),
    ],
)
def test_error_reply(text: tuple[str, ...], message_text: str) -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        peer.sock.sendall(error(peer.call().serial, "org.a.Nope", *text))

    with played(part) as bus:
        bus.greet(soon())
        with pytest.raises(BusError) as caught:
            bus.call(*TARGET, "Do", deadline=soon())
        assert (caught.value.name, caught.value.message) == ("org.a.Nope", message_text)


def test_no_answer_is_a_timeout_and_may_be_asked_again() -> None:
    waited = threading.Event()

    def part(peer: Peer) -> None:
        peer.greet()
        call = peer.call()
        assert waited.wait(PATIENCE)
        peer.sock.sendall(answer(call.serial, "s", "late"))

    with played(part) as bus:
        bus.greet(soon())
        serial = bus.send(*TARGET, "Sleep", deadline=soon())
        start = time.monotonic()
        with pytest.raises(BusError, match=r"^Sleep: no answer within 0\.[012]\d* s$") as caught:
            bus.reply(serial, start + 0.2)
        assert caught.value.name == "timeout"
        assert 0.15 < time.monotonic() - start < PATIENCE / 2
        waited.set()
        assert bus.reply(serial, soon()).values() == ("late",)


def test_a_flood_of_signals_neither_hides_the_deadline_nor_fills_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "MOST_SIGNALS", 10)
    flooding, over = threading.Event(), threading.Event()

    def part(peer: Peer) -> None:
        peer.greet()
        peer.sock.sendall(signal("Noise") * 100)
        flooding.set()
        peer.call()
        with contextlib.suppress(OSError):
            while not over.is_set():
                peer.sock.sendall(signal("Noise") * 100)

    with played(part) as bus:
        bus.greet(soon())
        assert flooding.wait(PATIENCE)
        with pytest.raises(BusError) as caught:
            bus.call(*TARGET, "Do", deadline=soon(0.3))
        assert caught.value.name == "timeout"
        assert len(bus._signals) == 10
        over.set()


def test_a_peer_that_stops_reading_does_not_hang_us() -> None:
    over = threading.Event()

    def part(peer: Peer) -> None:
        peer.greet()
        assert over.wait(PATIENCE)

    with played(part) as bus:
        bus.greet(soon())
        with pytest.raises(BusError) as caught:  # a socket's buffer is far below 64 times 1 MB
            for _ in range(64):
                bus.send(*TARGET, "Take", "ay", (bytes(1_000_000),), deadline=soon(0.1))
        over.set()
        assert (caught.value.name, caught.value.message) == ("timeout", "the bus does not take our message")
        with pytest.raises(BusError) as caught:  # the half message is not followed by another
            bus.send(*TARGET, "More", deadline=soon())
        assert caught.value.name == "closed"


def test_a_peer_that_reads_late_gets_all_of_a_long_message() -> None:
    data = bytes(range(250)) * 4000

    def part(peer: Peer) -> None:
        peer.greet()
        call = peer.call()
        peer.sock.sendall(answer(call.serial, "b", call.values() == (data,)))

    with played(part) as bus:
        bus.greet(soon())
        assert bus.call(*TARGET, "Take", "ay", (data,), deadline=soon()) == (True,)


def test_a_peer_that_hangs_up() -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        peer.call()

    with played(part) as bus:
        bus.greet(soon())
        with pytest.raises(BusError) as caught:
            bus.call(*TARGET, "Do", deadline=soon())
        assert caught.value.name == "closed"
        assert caught.value.message.startswith("Do: ")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"REJECTED EXTERNAL\r\n", "connect"),
        (b"DATA\r\nREJECTED\r\n", "connect"),
        (b"x" * 20_000, "connect"),
        (b"", "closed"),
    ],
)
def test_a_refused_handshake(line: bytes, name: str) -> None:
    def part(peer: Peer) -> None:
        peer.take(len(AUTH) + 7)
        peer.call()
        peer.call()
        peer.sock.sendall(line)

    with played(part) as bus:
        bus.greet(soon())
        with pytest.raises(BusError) as caught:
            bus.call(*TARGET, "Do", deadline=soon())
        assert caught.value.name == name


def test_a_refused_hello() -> None:
    def part(peer: Peer) -> None:
        peer.take(len(AUTH) + 7)
        hello = peer.call()
        peer.call()
        peer.sock.sendall(
            b"DATA\r\nOK 0\r\n" + error(hello.serial, "org.freedesktop.DBus.Error.LimitsExceeded", "full")
        )

    with played(part) as bus:
        bus.greet(soon())
        with pytest.raises(BusError, match="^full$"):
            bus.call(*TARGET, "Do", deadline=soon())


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad", b"l\2\1\1" + b"\xff" * 12, b"l\2\1\1" + bytes(12)])
def test_garbage_is_malformed(garbage: bytes) -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        peer.call()
        peer.sock.sendall(garbage)

    with played(part) as bus:
        bus.greet(soon())
        with pytest.raises(BusError) as caught:
            bus.call(*TARGET, "Do", deadline=soon())
        assert caught.value.name == "malformed"


def test_descriptors_wait_for_the_agreement_and_arrive(tmp_path: pathlib.Path) -> None:
    agreed = threading.Event()

    def part(peer: Peer) -> None:
        assert peer.take(len(AUTH) + 26) == AUTH + b"NEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
        hello = peer.call()
        peer.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.call()  # nothing more may come yet
        peer.sock.settimeout(PATIENCE)
        agreed.set()
        peer.sock.sendall(b"DATA\r\nOK 0\r\nAGREE_UNIX_FD\r\n" + answer(hello.serial, "s", ":1.7"))
        fds: list[int] = []
        while not fds:
            data, fds, _, _ = socket.recv_fds(peer.sock, 65536, 4)
            peer.data += data
        assert peer.call().member == "AddMatch"
        call = peer.call()
        assert (call.fds, call.values(), len(fds)) == (1, (0,), 1)
        with open(fds[0], "rb") as file:
            peer.sock.sendall(answer(call.serial, "ay", file.read()))

    (tmp_path / "file").write_bytes(b"through")
    with played(part) as bus, open(tmp_path / "file", "rb") as file:
        bus.greet(soon(), fds=True)
        bus.add_match("type='signal'")  # goes before, and without the descriptor
        serial = bus.send(*TARGET, "Pass", "h", (0,), fds=[file.fileno()], deadline=soon())
        assert agreed.is_set()
        assert bus.reply(serial, soon()).values() == (b"through",)


def test_without_a_broker_nothing_follows_the_handshake_too_soon() -> None:
    def part(peer: Peer) -> None:
        assert peer.take(len(AUTH) + 7) == AUTH + b"BEGIN\r\n"
        peer.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.call()
        peer.sock.settimeout(PATIENCE)
        peer.sock.sendall(b"DATA\r\nOK 0\r\n")
        call = peer.call()
        assert (call.serial, call.destination, call.member) == (1, "org.a", "Do")
        peer.sock.sendall(answer(call.serial))

    with played(part) as bus:
        bus.greet(soon(), hello=False)
        assert bus.call(*TARGET, "Do", deadline=soon()) == ()


def test_a_match_goes_before_the_call_and_once() -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        match, call = peer.call(), peer.call()
        assert (match.member, match.values()) == ("AddMatch", ("type='signal'",))
        peer.sock.sendall(signal("Changed") + answer(call.serial))

    with played(part) as bus:
        bus.greet(soon())
        bus.add_match("type='signal'")
        bus.add_match("type='signal'")
        assert bus.call(*TARGET, "Do", deadline=soon()) == ()


@pytest.fixture
def listener(tmp_path: pathlib.Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "bus"))
        yield sock


def test_connect_outlives_a_broker_that_restarts(listener: socket.socket) -> None:
    path = listener.getsockname()
    timer = threading.Timer(0.1, listener.listen)  # until then connect() is refused
    timer.start()
    with Bus.connect(path, soon()) as bus:
        assert os.get_inheritable(bus._sock.fileno()) is False
    timer.join()


@pytest.mark.parametrize("full", [False, True])
def test_connect_gives_up(listener: socket.socket, full: bool) -> None:
    path = listener.getsockname()
    with contextlib.ExitStack() as stack:
        if full:
            listener.listen(0)
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.connect(path)  # the backlog of one is taken
        start = time.monotonic()
        with pytest.raises(BusError, match=r"connect to the bus `.*/bus`: ") as caught:
            Bus.connect(path, soon(0.1))
        assert caught.value.name == "connect"
        assert time.monotonic() - start < PATIENCE / 2


def test_no_socket_fails_at_once(tmp_path: pathlib.Path) -> None:
    start = time.monotonic()
    with pytest.raises(BusError, match="No such file or directory$") as caught:
        Bus.connect(str(tmp_path / "none"), soon())
    assert caught.value.name == "connect"
    assert time.monotonic() - start < PATIENCE / 2


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("unix:path=/run/bus", "/run/bus"),
        ("unix:path=/run/bus,guid=0123", "/run/bus"),
        ("unix:guid=0123,path=/run/bus", "/run/bus"),
        ("unix:abstract=/tmp/x", "\0/tmp/x"),
        ("unix:path=/a%20b%2cc", "/a b,c"),
        ("unix:path=/%c3%a9", "/é"),
        ("tcp:host=h,port=1;unix:path=/second", "/second"),
    ],
)
def test_addresses(address: str, path: str) -> None:
    assert socket_path(address) == path


@pytest.mark.parametrize(
    "address",
    ["", "/run/bus", "tcp:host=h", "unix:", "unix:path=", "unixexec:path=/bin/sh", "unix:path=/a%", "unix:path=/a%2",
     "unix:path=/a%zz", "unix:path=/a%00b", "unix:path=/a%ff", "unix:path=/a%+1", "unix:path=/a%  "],
)  # fmt: skip
def test_bad_addresses(address: str) -> None:
    with pytest.raises(BusError) as caught:
        socket_path(address)
    assert caught.value.name == "connect"


def test_system_address() -> None:
    assert system_address({}) == "/run/dbus/system_bus_socket"
    assert system_address({"DBUS_SYSTEM_BUS_ADDRESS": ""}) == "/run/dbus/system_bus_socket"
    assert system_address({"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/x"}) == "/x"

"""A small blocking D-Bus client. Nothing in it waits beyond a deadline, whatever the peer does or omits.

    with Bus.connect(system_address(environ), deadline) as bus:
        serial = bus.send(SYSTEMD, PATH, MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", ..., deadline=deadline)
        ...                                          # other work, while the peer does its own
        answer = bus.reply(serial, deadline)         # signals that came first are kept
        signal = bus.wait_signal(match, deadline)

Deadlines are values of time.monotonic(). Imported by every hot verb: nothing but C modules.
"""

from __future__ import annotations

from _socket import (
    AF_UNIX,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SHUT_RDWR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from _struct import pack
from errno import EAGAIN, ECONNREFUSED
from posix import strerror
from select import POLLIN, POLLOUT, poll
from time import monotonic

from ..errors import BusError
from .wire import ERROR, HEAD, NO_REPLY_EXPECTED, SIGNAL, Message, length, method_call, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

BROKER = "org.freedesktop.DBus"
MOST_RECONNECTS = 5  # of one connection
MOST_SIGNALS = 1000  # kept at a time: anyone on the bus may send us some
CHUNK = 64 << 10


def socket_path(address: str) -> str:
    """Return the socket of the first `unix:` entry of a D-Bus address: a path, or "\\0name" if it is abstract.

    D-Bus Specification, "Server Addresses". BusError: other transports (tcp, nonce-tcp, unixexec) are refused.
    """
    for entry in address.split(";"):
        transport, _, rest = entry.partition(":")
        keys = dict(pair.split("=", 1) for pair in rest.split(",") if "=" in pair)
        for key, prefix in ("path", ""), ("abstract", "\0"):
            if transport == "unix" and keys.get(key):
                return prefix + _unescape(keys[key])
    raise BusError("connect", f"no unix socket in the bus address `{address}`")


def _unescape(value: str) -> str:
    first, *rest = value.split("%")
    try:
        raw = first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
        if "\0" in (text := raw.decode()) or any(len(part[:2].strip()) < 2 for part in rest):
            raise ValueError
    except ValueError:
        raise BusError("connect", f"malformed bus address `{value}`") from None
    return text


def system_address(environ: Mapping[str, str]) -> str:
    """Return the socket of the system bus. BusError if $DBUS_SYSTEM_BUS_ADDRESS names none."""
    address = environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    return socket_path(address) if address else "/run/dbus/system_bus_socket"


class Bus:
    """A connection to a message bus."""

    def __init__(self, sock: socket) -> None:
        """Take over `sock`, connected and non-blocking. Bus.connect is the usual way to one."""
        self._sock = sock
        self._poll = poll()
        self._serial = 0
        self._incoming = bytearray()
        self._auth: list[bytes] = []  # how the lines begin that the server still has to say before messages
        self._sent: dict[int, tuple[str, float]] = {}  # calls without an answer yet: the method, and since when
        self._answers: dict[int, Message] = {}
        self._signals: list[Message] = []
        self._ahead = b""  # what goes out with the next message: one wake-up of the broker less
        self.matches: set[str] = set()
        self._path, self._fds, self._again = "", False, MOST_RECONNECTS

    @classmethod
    def connect(cls, path: str, deadline: float, *, fds: bool = False) -> Bus:
        """Return a connection to the bus at `path` (see socket_path); `fds` if file descriptors will be sent.

        It does not wait for the bus to say welcome: a refusal shows at the first answer. BusError `connect`, `timeout`.
        """
        sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        bus = cls(sock)
        try:
            _connect(sock, path, deadline)
            bus.greet(deadline, fds=fds)
            bus._path, bus._fds = path, fds
        except BaseException:
            sock.close()
            raise
        return bus

    def reconnect(self, deadline: float) -> bool:
        """Connect anew when the bus has closed the connection: its broker restarts. False if that goes too far.

        What had not been answered is lost, and so are the matches. BusError as connect.
        """
        if not self._path or not self._again:
            return False
        fresh = Bus.connect(self._path, deadline, fds=self._fds)
        fresh._again = self._again - 1
        self.close()
        self.__dict__.update(fresh.__dict__)  # whoever has us keeps us
        return True

    def greet(self, deadline: float, *, fds: bool = False, hello: bool = True) -> None:
        """Send the whole handshake at once, as sd-bus does; `hello` is for brokers alone.

        EXTERNAL goes without a uid: inside a user namespace ours differs from the one that the server sees.
        """
        self._auth = [b"DATA", b"OK ", b"AGREE_UNIX_FD"] if fds else [b"DATA", b"OK "]
        self._ahead = b"\0AUTH EXTERNAL\r\nDATA\r\n" + b"NEGOTIATE_UNIX_FD\r\n" * fds + b"BEGIN\r\n"
        if hello:
            self.send(BROKER, "/org/freedesktop/DBus", BROKER, "Hello", deadline=deadline)
        else:  # systemd's private socket forgets what comes with BEGIN
            self._write(b"", (), deadline)
            while self._auth:
                self._read(deadline, "handshake of the bus")

    def call(
        self, destination: str, path: str, interface: str, member: str,
        signature: str = "", values: tuple[Any, ...] = (), *, deadline: float,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Call a method and return the values of its answer. ValueError as send, BusError as reply."""
        serial = self.send(destination, path, interface, member, signature, values, deadline=deadline)
        return self.reply(serial, deadline).values()

    def send(
        self, destination: str, path: str, interface: str, member: str,
        signature: str = "", values: tuple[Any, ...] = (), *, fds: Sequence[int] = (), deadline: float,
    ) -> int:  # fmt: skip
        """Send a method call and return the serial to ask reply() for.

        ValueError if `values` do not match `signature`, BusError `timeout`, `closed`.
        """
        self._serial += 1
        message = method_call(self._serial, destination, path, interface, member, signature, values, len(fds))
        while fds and self._auth:  # descriptors may pass only after AGREE_UNIX_FD
            self._read(deadline, "handshake of the bus")
        self._sent[self._serial] = (member, monotonic())
        self._write(message, fds, deadline)
        return self._serial

    def reply(self, serial: int, deadline: float) -> Message:
        """Return the answer to the call `serial`.

        BusError: the name and text of an error answer, `timeout` (it may be asked again), `closed`, `malformed`.
        """
        while serial not in self._answers:
            member, since = self._sent[serial]
            self._read(deadline, member, since)
        answer = self._answers.pop(serial)
        if answer.kind == ERROR:
            raise _refusal(answer)
        return answer

    def add_match(self, rule: str) -> None:
        """Have the broker pass us the signals that match `rule` (D-Bus Specification, "Match Rules").

        That goes out with the next call, ahead of it: no signal which the call brings about is missed.
        """
        if rule not in self.matches:
            self.matches.add(rule)
            self._serial += 1
            where = (BROKER, "/org/freedesktop/DBus", BROKER, "AddMatch", "s", (rule,))
            self._ahead += method_call(self._serial, *where, flags=NO_REPLY_EXPECTED)

    def wait_signal(self, match: Callable[[Message], bool], deadline: float) -> Message:
        """Return the first signal, kept or to come, that `match` accepts; the others stay kept. BusError as reply."""
        since = monotonic()
        while True:
            for at, signal in enumerate(self._signals):
                if match(signal):
                    return self._signals.pop(at)
            self._read(deadline, "signal", since)

    def next_signal(self, deadline: float) -> Message:
        """Return the oldest signal, kept or to come. BusError as reply."""
        return self.wait_signal(lambda signal: True, deadline)

    def close(self) -> None:
        """Close the connection. It does no harm twice."""
        self._sock.close()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ready(self, event: int, deadline: float) -> bool:
        self._poll.register(self._sock, event)
        left = deadline - monotonic()
        return left > 0 and bool(self._poll.poll(left * 1000))

    def _write(self, data: bytes, fds: Sequence[int], deadline: float) -> None:
        if fds and self._ahead:
            self._write(b"", (), deadline)
        data, self._ahead = self._ahead + data, b""
        # descriptors belong to the message whose first byte they come with, and go once
        control = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
        while data:
            try:
                data = data[self._sock.sendmsg([data], control, MSG_NOSIGNAL) :]
                control = []
            except BlockingIOError:
                if not self._ready(POLLOUT, deadline):
                    self._sock.shutdown(SHUT_RDWR)  # half a message is out: nothing may follow it
                    raise BusError("timeout", "the bus does not take our message") from None
            except OSError as error:
                raise BusError("closed", f"send to the bus: {strerror(error.errno or 0)}") from None

    def _read(self, deadline: float, what: str, since: float = 0.0) -> None:
        """Take what has come, or wait for it; BusError `timeout` names `what` was awaited `since`."""
        if not self._ready(POLLIN, deadline):
            waited = f" within {round(deadline - since, 1):g} s" if since else ""
            raise BusError("timeout", f"{what}: no answer{waited}")
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise BusError("closed", f"{what}: {strerror(error.errno or 0)}") from None
        if not data:
            raise BusError("closed", f"{what}: the bus closed the connection")
        self._incoming += data
        while self._auth and self._take_line():
            pass
        while not self._auth and self._take_message():
            pass

    def _take_line(self) -> bool:
        line, end, rest = self._incoming.partition(b"\r\n")
        if not end and len(line) < HEAD * 1024:
            return False
        if not line.startswith(self._auth[0]):
            text = line[:80].decode("ascii", "replace")
            raise BusError("connect", f"the bus refused us: {text}")
        del self._auth[0]
        self._incoming = rest
        return True

    def _take_message(self) -> bool:
        if len(self._incoming) < HEAD:
            return False
        size = length(bytes(self._incoming[:HEAD]))
        if len(self._incoming) < size:
            return False
        message = parse(bytes(self._incoming[:size]))
        del self._incoming[:size]
        if message.kind == SIGNAL:
            self._signals.append(message)
            del self._signals[:-MOST_SIGNALS]
        elif message.reply_to in self._sent:  # what was given up has no place; calls to us are not answered
            member, _ = self._sent.pop(message.reply_to)
            if member != "Hello":
                self._answers[message.reply_to] = message
            elif message.kind == ERROR:
                raise _refusal(message)
        return True


def _connect(sock: socket, path: str, deadline: float) -> None:
    """Connect, with a few more tries while a broker restarts or its backlog is full (the kernel offers no poll)."""
    name = path if path[:1] != "\0" else f"@{path[1:]}"
    for pause in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, None):
        try:
            sock.connect(path)
            return
        except OSError as error:
            left = deadline - monotonic()
            if error.errno not in (EAGAIN, ECONNREFUSED) or pause is None or left <= 0:
                raise BusError("connect", f"connect to the bus `{name}`: {strerror(error.errno or 0)}") from None
            poll().poll(min(pause, left) * 1000)


def _refusal(answer: Message) -> BusError:
    values = answer.values() if answer.signature.startswith("s") else ()
    text = " ".join(str(values[0]).splitlines()) if values else ""  # it may quote what we sent, newlines and all
    return BusError(answer.error, text.rstrip(".") or answer.error)

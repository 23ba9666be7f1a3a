"""The log: where `--log` sends it, one line a message. This runs often: it imports next to nothing.

Nothing is opened before there is something to say: podman and containerd read the log of a command that
failed only, and podman reads all of it as one JSON object, so a call that went well must add nothing to it.
"""

from __future__ import annotations

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Sink(Protocol):
        def __call__(self, level: str, text: str) -> None: ...


NAME = "pyoci"
LEVELS = {"error": 3, "warning": 4, "debug": 7}  # as syslog(3) numbers them
LONGEST = 32768  # characters of a message: a journal datagram is limited by the socket's buffer
PATIENCE = 1.0  # seconds we wait for a log daemon: a log is never worth a hanging container
JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
SYSLOG_DAEMON = 3 << 3  # the facility LOG_DAEMON


class Log:
    """Where messages go.

    `target` is `--log`: "" (standard error), a path, `file:PATH`, `journald:[ID]` or `syslog:[ID]`.
    `form` is `text` or `json`. `level` is the least important level that is written. `container` is the id the
    verb is about, "" when there is none.
    """

    def __init__(self, target: str = "", form: str = "text", level: str = "error") -> None:
        self.target = target
        self.form = form
        self.limit = LEVELS[level]
        self.container = ""
        self.sink: Sink | None = None

    def wants(self, level: str) -> bool:
        """Say whether a message of this level is written: spares making sentences nobody reads."""
        return LEVELS[level] <= self.limit

    def write(self, level: str, text: str) -> None:
        """Write one line. Never raises: a log that fails is told on standard error, once."""
        if not self.wants(level):
            return
        text = one_line(text)
        try:
            if self.sink is None:
                self.sink = self.open()
            self.sink(level, text)
        except OSError as error:
            to_stderr("error", f"cannot log to `{one_line(self.target)}`: {posix.strerror(error.errno or 0)}")
            self.sink = silent
        if level == "error" and self.target:
            to_stderr(level, text)

    def open(self) -> Sink:
        """Return the function that writes to the target."""
        kind, colon, rest = self.target.partition(":")
        if colon and kind == "journald":
            return to_journal(rest or self.container, self.container)
        if colon and kind == "syslog":
            return to_syslog(rest or self.container or NAME)
        if self.target:
            return to_file(rest if colon and kind == "file" else self.target, self.form)
        return json_to_stderr if self.form == "json" else to_stderr


_log = Log()


def use(log: Log) -> None:
    """Make `log` the one that error(), warning() and debug() write to."""
    global _log
    _log = log


def about(container: str) -> None:
    """Name the container all messages are about from now on."""
    _log.container = container


def wants(level: str) -> bool:
    """Say whether a message of this level (error, warning, debug) is written at all."""
    return _log.wants(level)


def error(text: str) -> None:
    """Say why the command failed, in the log and on standard error. Clients want exactly one of these."""
    _log.write("error", text)


def warning(text: str) -> None:
    """Say what could not be done as asked although the command goes on."""
    _log.write("warning", text)


def debug(text: str) -> None:
    """Say what is being done."""
    _log.write("debug", text)


def one_line(text: str) -> str:
    """Return the text with control characters escaped: ids and paths must not forge lines or drive a terminal."""
    text = text[:LONGEST]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else escaped(c) for c in text)


def escaped(character: str) -> str:
    """Return what stands for a character that cannot be shown; a byte that was no UTF-8 as that byte."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(character)[1:-1]


def timestamp(now: float) -> str:
    """Return seconds since the epoch as RFC 3339, UTC, with microseconds: containerd drops what is not."""
    micro = int(now * 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(micro // 1_000_000))}.{micro % 1_000_000:06d}Z"


def json_line(level: str, text: str) -> str:
    """Return the line clients parse: an object with msg, level and time."""
    from _json import encode_basestring_ascii

    return f'{{"msg":{encode_basestring_ascii(text)},"level":"{level}","time":"{timestamp(time.time())}"}}\n'


def write_all(fd: int, text: str) -> None:
    """Write the text. One write for a line: with O_APPEND, lines of several processes stay whole."""
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[posix.write(fd, data) :]


def to_stderr(level: str, text: str) -> None:
    """Tell the person, or the client that reads standard error."""
    label = "" if level == "error" else f"{level}: "
    last_resort(f"{NAME}: {label}{text}\n")


def json_to_stderr(level: str, text: str) -> None:
    """Tell a client that asked for JSON and named no log."""
    last_resort(json_line(level, text))


def last_resort(line: str) -> None:
    """Write to standard error."""
    try:
        write_all(2, line)
    except OSError:
        return  # there is nowhere left to say it


def silent(level: str, text: str) -> None:
    """Write nowhere: the log has failed, and errors reach standard error all the same."""


def to_file(path: str, form: str) -> Sink:
    """Return what appends to a file, which is made when it is missing. Raises OSError."""
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOCTTY
    fd = posix.open(path, flags, 0o600)

    def write(level: str, text: str) -> None:
        write_all(fd, json_line(level, text) if form == "json" else f"{timestamp(time.time())} {level}: {text}\n")

    return write


def to_journal(name: str, container: str) -> Sink:
    """Return what writes entries by the journal's native protocol (systemd.journal-fields(7)). Raises OSError."""
    send = datagrams(JOURNAL)
    fields = f"SYSLOG_IDENTIFIER={NAME}\n"
    for field, value in (("ID", name), ("CONTAINER_ID", container)):
        if value:
            fields += f"{field}={one_line(value)}\n"
    return lambda level, text: send(f"PRIORITY={LEVELS[level]}\nMESSAGE={text}\n{fields}")


def to_syslog(ident: str) -> Sink:
    """Return what writes to the syslog socket in the form syslog(3) sends (RFC 3164). Raises OSError."""
    send = datagrams(SYSLOG)
    head = f"{one_line(ident)}[{posix.getpid()}]"

    def write(level: str, text: str) -> None:
        # the C library's %b follows the locale, which we never set: always English here
        send(f"<{SYSLOG_DAEMON | LEVELS[level]}>{time.strftime('%b %e %H:%M:%S')} {head}: {text}")

    return write


def datagrams(address: str) -> Callable[[str], None]:
    """Return what sends one text as one datagram to a Unix socket. Raises OSError."""
    import _socket

    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    socket.settimeout(PATIENCE)
    socket.connect(address)

    def send(text: str) -> None:
        socket.send(text.encode("utf-8", "surrogateescape"))

    return send

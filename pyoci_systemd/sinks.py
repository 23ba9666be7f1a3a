"""Where a log goes: a file, the journal, syslog, standard error. Imported when there is something to say."""

from __future__ import annotations

import posix
import time

from .errors import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    Sink = Callable[[str, str], None]  # takes the level and the text

    class Log(Protocol):
        """What is asked for: see log.Log."""

        target: str
        form: str
        container: str
        sink: Sink | None


PRIORITIES = {"error": 3, "warning": 4, "debug": 7}  # syslog(3)

NAME = "pyoci"
LONGEST, END = 10_000, 200  # characters: two paths and some words; the reason stands at the end
PATIENCE = 1.0  # seconds we wait for a log daemon: a log is never worth a hanging container
JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
SYSLOG_DAEMON = 3 << 3  # the facility LOG_DAEMON


def write(log: Log, level: str, text: str) -> None:
    """Write one line to the log's target, which is opened for the first. Never raises."""
    text = one_line(text)
    try:
        if log.sink is None:
            log.sink = open_sink(log)
        log.sink(level, text)
    except OSError as error:
        to_stderr("error", f"cannot log to `{one_line(log.target)}`: {reason(error)}")
        log.sink = silent
    if level == "error" and log.target:
        to_stderr(level, text)


def open_sink(log: Log) -> Sink:
    """Return the function that writes to the target. Raises OSError."""
    kind, colon, rest = log.target.partition(":")
    if colon and kind == "journald":
        return to_journal(rest or log.container, log.container)
    if colon and kind == "syslog":
        return to_syslog(rest or log.container or NAME)
    if log.target:
        return to_file(rest if colon and kind == "file" else log.target, log.form)
    return json_to_stderr if log.form == "json" else to_stderr


def one_line(text: str) -> str:
    """Return the text with control characters escaped: ids and paths must not forge lines or drive a terminal."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - END]} … {text[-END:]}"
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
    return lambda level, text: send(f"PRIORITY={PRIORITIES[level]}\nMESSAGE={text}\n{fields}")


def to_syslog(ident: str) -> Sink:
    """Return what writes to the syslog socket in the form syslog(3) sends (RFC 3164). Raises OSError."""
    send = datagrams(SYSLOG)
    head = f"{one_line(ident)}[{posix.getpid()}]"

    def write(level: str, text: str) -> None:
        # the C library's %b follows the locale, which we never set: always English here
        send(f"<{SYSLOG_DAEMON | PRIORITIES[level]}>{time.strftime('%b %e %H:%M:%S')} {head}: {text}")

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

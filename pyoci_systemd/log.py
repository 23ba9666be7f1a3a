"""The log: where `--log` sends it, one line a message. This runs often: it imports next to nothing.

Nothing is opened before there is something to say: podman and containerd read the log of a command that
failed only, and podman reads all of it as one JSON object, so a call that went well must add nothing to it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


LEVELS = {"error": 0, "warning": 1, "debug": 2}


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
        self.sink: Callable[[str, str], None] | None = None

    def wants(self, level: str) -> bool:
        """Say whether a message of this level is written: spares making sentences nobody reads."""
        return LEVELS[level] <= self.limit

    def write(self, level: str, text: str) -> None:
        """Write one line. Never raises: a log that fails is told on standard error, once."""
        if self.wants(level):
            from . import sinks  # 8 kB of code that a command without a message does not need

            sinks.write(self, level, text)


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


def hint(text: str) -> None:
    """Tell the person at the terminal what may help."""
    from .sinks import to_stderr

    to_stderr("hint", text)

"""What a container prints, for the journal: by sockets of the journal's own, or by pipes, where its supervisor stays.

The journal knows of a socket who wrote what. But no program can open a socket by its name in /dev (ENXIO), and images
that log into files have these lead to /dev/stdout: they can open a pipe. What comes by that is the supervisor's for the
journal, so it has to be of the same unit.
"""

from __future__ import annotations

import posix

from .. import log
from ..errors import Error
from ..systemd.journal import ERROR, INFO, stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from select import poll

    from ..spec.types import Config

POLLIN = 1
CHUNK = 65536


def check(config: Config) -> None:
    """Refuse what prints on a terminal. Raises Error."""
    if config.get("process", {}).get("terminal"):
        raise Error("process.terminal is true: what it prints is for a terminal, not for the journal")


def sockets(identifier: str, unit: str) -> tuple[int, int, int]:
    """Return standard streams that end in the journal, of what is in `unit`. Raises Error."""
    return 0, stream(identifier, INFO, unit), stream(identifier, ERROR, unit)


class Output:
    """Standard streams that are pipes, and the way from these into the journal."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        # our copies of the writing ends stay open: a pipe without any would wake us for ever
        out, error = posix.pipe2(posix.O_CLOEXEC), posix.pipe2(posix.O_CLOEXEC)
        self.stdio = (0, out[1], error[1])
        self._priorities = {out[0]: INFO, error[0]: ERROR}
        self._streams = {fd: stream(identifier, priority) for fd, priority in self._priorities.items()}

    def register(self, watched: poll) -> None:
        """Have the reading ends watched."""
        for fd in self._streams:
            watched.register(fd, POLLIN)

    def handle(self, ready: Collection[int]) -> None:
        """Pass on what has come in."""
        for fd in self._streams:
            if fd in ready:
                self._pass_on(fd)

    def _pass_on(self, fd: int) -> bool:
        """Pass on what is in one of them; false when there is nothing (any more)."""
        try:
            return posix.splice(fd, self._streams[fd], CHUNK, flags=posix.SPLICE_F_NONBLOCK) > 0
        except BlockingIOError:
            return False
        except OSError:
            self._streams[fd] = self._again(fd)
            return True

    def _again(self, fd: int) -> int:
        """Return another stream: the journal closed the last. Where there is none the container is not held up."""
        posix.close(self._streams[fd])
        try:
            return stream(self.identifier, self._priorities[fd])
        except Error as error:
            log.warning(f"the output of `{self.identifier}` is lost: {error.message}")
            return posix.open("/dev/null", posix.O_WRONLY | posix.O_CLOEXEC)

    def drain(self) -> None:
        """Pass on all that is left, when nobody writes any more."""
        for fd in self._streams:
            while self._pass_on(fd):
                pass

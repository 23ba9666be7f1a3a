"""What a container prints, for the journal: by sockets of the journal's own, or by pipes, where its supervisor stays.

The journal knows of a socket who wrote what. But no program can open a socket by its name in /dev (ENXIO), and images
that log into files have these lead to /dev/stdout: they can open a pipe. What comes by that is the supervisor's for the
journal, so it has to be of the same unit.
"""

from __future__ import annotations

import posix
from fcntl import ioctl
from select import POLLIN, POLLOUT, poll
from sys import byteorder
from time import monotonic

from .. import log
from ..errors import Error, reason
from ..systemd.journal import ERROR, INFO, stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ..spec.types import Config

FIONREAD = 0x541B  # asm-generic/ioctls.h
CHUNK = 65536
TRIES, WINDOW = 3, 10.0  # so many streams that break within so many seconds are no journal
LINGER = 2.0  # seconds for the journal to take what is left at the end


def check(config: Config) -> None:
    """Refuse what prints on a terminal. Raises Error."""
    if config.get("process", {}).get("terminal"):
        raise Error("process.terminal is true: what it prints is for a terminal, not for the journal")


def sockets(identifier: str, unit: str) -> tuple[int, int, int]:
    """Return standard streams that end in the journal, of what is in `unit`. Raises Error."""
    return 0, stream(identifier, INFO, unit), stream(identifier, ERROR, unit)


class Output:
    """Standard streams that are pipes, and the ways from these into the journal."""

    def __init__(self, identifier: str) -> None:
        out = Way(f"`{identifier}`'s standard output", identifier, INFO)
        error = Way(f"`{identifier}`'s standard error", identifier, ERROR)
        self._ways = out, error
        self.stdio = (0, out.writing, error.writing)

    def register(self, watched: poll) -> int | None:
        """Say what is waited for; for ever, if need be."""
        for way in self._ways:
            way.register(watched)
        return None

    def handle(self, ready: Collection[int]) -> None:
        """Pass on what has come in."""
        for way in self._ways:
            way.handle(ready)

    def drain(self) -> None:
        """Pass on what is left at the end, if the journal takes it soon.

        Processes that outlive the first may write on: that is not waited for.
        """
        deadline = monotonic() + LINGER
        for way in self._ways:
            way.drain(deadline)


class Way:
    """The way from one pipe into the journal; `name` is what a person calls it. Raises Error."""

    def __init__(self, name: str, identifier: str, priority: int) -> None:
        self.name = name
        self._identifier, self._priority = identifier, priority
        self._stream = self._open()
        # our copy of the writing end stays open: a pipe without any would wake us for ever
        self._reading, self.writing = posix.pipe2(posix.O_CLOEXEC)
        self._full = False
        """does the journal have to read before we can write"""
        self._broken, self._since = 0, 0.0

    def _open(self) -> int:
        fd = stream(self._identifier, self._priority)
        posix.set_blocking(fd, False)  # SPLICE_F_NONBLOCK is about the pipe alone
        return fd

    def register(self, watched: poll) -> None:
        """Have the one end watched that has to become ready: where the journal stalls the container waits, not we."""
        if self._full:
            watched.register(self._stream, POLLOUT)
        else:
            watched.register(self._reading, POLLIN)

    def handle(self, ready: Collection[int]) -> None:
        """Pass on some of what has come in, if one of our ends is among these."""
        if self._reading in ready or self._stream in ready:
            self._pass_on(CHUNK)

    def drain(self, deadline: float) -> None:
        """Pass on what is in the pipe now, until the deadline."""
        left = self._held()
        while left > 0 and self._held() > 0:  # others can read it too, by /proc/PID/fd
            left -= self._pass_on(left)
            if self._full:
                watched = poll()
                self.register(watched)
                watched.poll(max(deadline - monotonic(), 0) * 1000)
            if left > 0 and monotonic() >= deadline:
                log.warning(f"the end of {self.name} is lost: the journal takes no more")
                return

    def _held(self) -> int:
        """Return how many bytes are in the pipe."""
        return int.from_bytes(ioctl(self._reading, FIONREAD, bytes(4)), byteorder)

    def _pass_on(self, most: int) -> int:
        """Pass on at most so many bytes; return how many it were."""
        self._full = False
        try:
            return posix.splice(self._reading, self._stream, most, flags=posix.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            # of either end; what came in between is found at the next turn
            self._full = self._held() > 0
        except OSError as error:
            self._again(error)
        return 0

    def _again(self, error: OSError) -> None:
        """Take another stream: the journal closed the last. Where there is none the container is not held up."""
        posix.close(self._stream)
        if monotonic() >= self._since + WINDOW:
            self._broken, self._since = 0, monotonic()
        self._broken += 1
        why = f"the journal: {reason(error)}"
        if self._broken <= TRIES:
            try:
                self._stream = self._open()
                return
            except Error as refused:
                why = refused.message
        log.warning(f"{self.name} is lost: {why}")
        self._stream = posix.open("/dev/null", posix.O_WRONLY | posix.O_CLOEXEC)

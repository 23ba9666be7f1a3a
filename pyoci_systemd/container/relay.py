"""Between our terminal and the container's."""

from __future__ import annotations

import posix
from fcntl import F_GETFL, F_SETFL, fcntl, ioctl
from select import POLLIN, POLLOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from select import poll
    from typing import Any

CHUNK = 65536
TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414


class Relay:
    """Two one-way streams: our stdin to the terminal's master, and the master to our stdout.

    At most one chunk of each is held: a side that does not read makes the other wait, and never us.
    """

    def __init__(self, master: int) -> None:
        self.master = master
        self._flags = {}
        for fd in (0, 1, master):
            self._flags[fd] = fcntl(fd, F_GETFL)
            fcntl(fd, F_SETFL, self._flags[fd] | posix.O_NONBLOCK)
        self._held = {master: b"", 1: b""}
        self._open = {0: True, master: True}
        self._saved = raw(0) if posix.isatty(0) else None
        self.resize()

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        try:
            ioctl(self.master, TIOCSWINSZ, ioctl(1 if posix.isatty(1) else 0, TIOCGWINSZ, b"\0" * 8))
        except OSError:
            return  # ours is no terminal

    def register(self, watched: poll) -> None:
        """Say what we wait for: to read where nothing is held, to write where something is."""
        events: dict[int, int] = {}
        for source, sink in ((0, self.master), (self.master, 1)):
            if self._held[sink]:
                events[sink] = events.get(sink, 0) | POLLOUT
            elif self._open[source]:
                events[source] = events.get(source, 0) | POLLIN
        for fd, event in events.items():
            watched.register(fd, event)

    def handle(self, fd: int) -> None:
        """Move on what can be moved on at `fd`."""
        if self._held.get(fd):
            self._flush(fd)
        if fd in self._open and not self._held[self._sink(fd)]:
            self._read(fd)

    def _sink(self, source: int) -> int:
        return self.master if source == 0 else 1

    def _read(self, source: int) -> None:
        try:
            data = posix.read(source, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # EIO: the other side of a terminal is closed
        if not data:
            self._open[source] = False
            return
        self._held[self._sink(source)] = data
        self._flush(self._sink(source))

    def _flush(self, sink: int) -> None:
        try:
            self._held[sink] = self._held[sink][posix.write(sink, self._held[sink]) :]
        except BlockingIOError:
            return
        except OSError:
            self._held[sink] = b""

    def drain(self) -> None:
        """Show what the container wrote last. Its end is known before its last words have been read."""
        fcntl(1, F_SETFL, self._flags[1])
        while self._open[self.master]:
            before = self._held[1]
            if before:
                self._flush(1)
            else:
                self._read(self.master)
                if not self._held[1] and self._open[self.master]:
                    return  # nothing more for now: somebody else keeps the terminal open

    def restore(self) -> None:
        """Leave our terminal as it was."""
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        for fd in (0, 1):
            fcntl(fd, F_SETFL, self._flags[fd])


def raw(fd: int) -> list[Any]:
    """Pass every key on as it is typed (cfmakeraw(3)); return the attributes as they were."""
    import termios as t

    saved = t.tcgetattr(fd)
    mode = t.tcgetattr(fd)
    mode[0] &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
    mode[1] &= ~t.OPOST
    mode[2] = mode[2] & ~(t.CSIZE | t.PARENB) | t.CS8
    mode[3] &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
    t.tcsetattr(fd, t.TCSADRAIN, mode)
    return saved

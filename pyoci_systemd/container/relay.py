"""Between our terminal and the container's."""

from __future__ import annotations

import posix
from fcntl import F_GETFL, F_SETFL, fcntl, ioctl
from select import POLLIN, POLLOUT

from .. import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from select import poll
    from typing import Any

CHUNK = 65536
LAST_WORDS = 2 * CHUNK  # bytes: more than a terminal holds of what nobody has read
TIOCGWINSZ, TIOCSWINSZ, TIOCGPTPEER = 0x5413, 0x5414, 0x5441
UNBUFFERED = (0o020000, 0o010000)  # S_IFCHR, S_IFIFO: opened once more they are the same, with flags of their own


class Relay:
    """Two one-way streams: our stdin to the terminal's master, and the master to our stdout.

    At most one chunk of each is held: a side that does not read makes the other wait, and never us.
    """

    def __init__(self, master: int) -> None:
        self.master = master
        posix.set_blocking(master, False)
        # as long as it is open, the terminal outlives a program that closes it and opens /dev/console later
        self._peer = peer(master)
        self._flags: dict[int, int] = {}
        self.input, self.output = self._own(0, posix.O_RDONLY), self._own(1, posix.O_WRONLY)
        self._held = {master: b"", self.output: b""}
        self._sinks = {self.input: master, master: self.output}
        self._open = {self.input: True, master: True}
        self._last_byte = b"\n"
        self._late = 0
        self._saved: list[Any] | None = None
        resize(master)
        self.resume()

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        resize(self.master)

    def _own(self, fd: int, mode: int) -> int:
        """Return a descriptor of the same that never makes us wait. Others have `fd` open too, our shell for one."""
        if posix.fstat(fd).st_mode & 0o170000 in UNBUFFERED:
            try:
                return posix.open(f"/proc/self/fd/{fd}", mode | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
            except OSError:
                pass  # a pipe that nobody reads, a terminal of another user's
        self._flags[fd] = fcntl(fd, F_GETFL)
        fcntl(fd, F_SETFL, self._flags[fd] | posix.O_NONBLOCK)
        return fd

    def resume(self) -> None:
        """Take our terminal: at the beginning, and when we are continued, for whoever stopped us has used it."""
        if not posix.isatty(0) or in_background(0):
            return
        saved = raw(0)
        self._saved = self._saved or saved
        self._open[self.input] = True

    def register(self, watched: poll) -> None:
        """Say what we wait for: to read where nothing is held, to write where something is."""
        events: dict[int, int] = {}
        for source, sink in self._sinks.items():
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
        if self._open.get(fd) and not self._held[self._sinks[fd]]:
            self._read(fd)

    def _read(self, source: int) -> int:
        """Read what there is, and pass it on; return its size."""
        sink = self._sinks[source]
        try:
            data = posix.read(source, CHUNK)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: the other side of a terminal is closed, or ours is somebody else's
            self._open[source] = False
            return 0
        self._open[source] = bool(data)
        if source == self.input:
            data = data or self._end_of_input()
            self._last_byte = data[-1:]
        self._held[sink] = data
        self._flush(sink)
        return len(data)

    def _end_of_input(self) -> bytes:
        """Return what someone would type to end the input: a terminal's has no end of its own (termios(3), VEOF)."""
        import termios as t

        mode = t.tcgetattr(self.master)
        # in the middle of a line it only passes on what there is of it
        return mode[6][t.VEOF] * (1 if self._last_byte == b"\n" else 2) if mode[3] & t.ICANON else b""

    def _flush(self, sink: int) -> None:
        try:
            self._held[sink] = self._held[sink][posix.write(sink, self._held[sink]) :]
        except BlockingIOError:
            return
        except OSError:
            self._held[sink] = b""  # nobody reads it any more

    def has_more(self) -> bool:
        """Is something left to be shown, now that the container has ended. Its end is known before its last words."""
        self._open[self.input] = False  # what is typed now is for whoever comes after us
        while self._open[self.master] and not self._held[self.output] and self._late < LAST_WORDS:
            size = self._read(self.master)
            if not size:
                break  # somebody else keeps the terminal open, and says nothing
            self._late += size
        return bool(self._held[self.output])

    def restore(self) -> None:
        """Leave our terminal as it was."""
        if self._saved is not None:
            import termios

            try:
                # not TCSADRAIN: it would wait for a terminal that shows nothing at the moment
                termios.tcsetattr(0, termios.TCSANOW, self._saved)
            except termios.error as error:
                log.debug(f"the terminal is gone: {error}")
        # the other way round: where both are one socket, the flags of the first are the true ones
        for fd, flags in reversed(self._flags.items()):
            fcntl(fd, F_SETFL, flags)


def resize(master: int) -> None:
    """Give the container's terminal the size of ours, where ours has one."""
    try:
        size = ioctl(1 if posix.isatty(1) else 0, TIOCGWINSZ, b"\0" * 8)
        if any(size):
            ioctl(master, TIOCSWINSZ, size)
    except OSError:
        return  # ours is no terminal


def in_background(fd: int) -> bool:
    """Is a terminal somebody else's at the moment, as the shell has it."""
    try:
        return posix.tcgetpgrp(fd) != posix.getpgrp()
    except OSError:
        return False  # it is not our controlling terminal: no shell manages it


def peer(master: int) -> int:
    """Return the other side of a master, -1 where the kernel is too old for that."""
    try:
        return int(ioctl(master, TIOCGPTPEER, posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC))
    except OSError:
        return -1


def raw(fd: int) -> list[Any]:
    """Pass every key on as it is typed (cfmakeraw(3)); return the attributes as they were."""
    import termios as t

    saved = t.tcgetattr(fd)
    mode = t.tcgetattr(fd)
    mode[0] &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
    mode[1] &= ~t.OPOST
    mode[2] = mode[2] & ~(t.CSIZE | t.PARENB) | t.CS8
    mode[3] &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
    mode[6][t.VMIN], mode[6][t.VTIME] = 1, 0
    t.tcsetattr(fd, t.TCSANOW, mode)
    return saved

"""A file of a cgroup that says when it changes: poll(2) finds it ready for POLLPRI until it is read (cgroups(7))."""

from __future__ import annotations

import posix

from .events import gone


class Watched:
    """One such file, open. `fd` is -1 when there is none, or none any more: a file that has gone is ready for ever."""

    def __init__(self, path: str) -> None:
        try:
            self.fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            if not gone(error):
                raise
            self.fd = -1

    def text(self) -> str:
        """Return what the file says, "" when it has gone. Raises OSError."""
        if self.fd < 0:
            return ""
        try:
            return posix.pread(self.fd, 4096, 0).decode()
        except OSError as error:
            if not gone(error):
                raise
            self.close()
            return ""

    def close(self) -> None:
        """Watch it no more."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

"""The small files of /proc and /sys: there or not, read whole, written in one go."""

from __future__ import annotations

import posix


def read(path: str) -> str:
    """Return the text of a small kernel file. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 65536).decode("utf-8", "surrogateescape")
    finally:
        posix.close(fd)


def write(path: str, text: str) -> None:
    """Write a kernel file in one go. Raises OSError."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(fd, text.encode())
    finally:
        posix.close(fd)


def exists(path: str) -> bool:
    """Is there anything at `path`, a dangling link included."""
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True

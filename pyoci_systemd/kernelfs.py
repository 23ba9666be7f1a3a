"""The small files of /proc and /sys: there or not, read, written in one go."""

from __future__ import annotations

import posix


def read(path: str) -> str:
    """Return the text of a small kernel file. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 65536).decode("utf-8", "surrogateescape")
    finally:
        posix.close(fd)


def whole(path: str) -> str:
    """Return the text of a kernel file of any length: a read(2) gets no more than a page of it. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = [posix.read(fd, 65536)]
        while parts[-1]:
            parts.append(posix.read(fd, 65536))
    finally:
        posix.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


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

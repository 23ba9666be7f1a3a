"""The lock on a container's directory: whoever makes, starts or deletes the container holds it.

It is the kernel's (flock(2)), so it goes with its holder, however that ends.
"""

from __future__ import annotations

import posix
from errno import EACCES, EAGAIN
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from time import monotonic, sleep

from ..errors import because

BUSY, GONE = -1, -2
STEP = 0.005


def take(path: str, shared: bool = False) -> int:
    """Return a descriptor that holds the lock, BUSY when someone else does, GONE without a directory. Raises Error."""
    try:
        # O_NOFOLLOW: a link in the state root leads to somebody else's files
        fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except FileNotFoundError:
        return GONE
    except OSError as error:
        raise because(f"cannot open `{path}`", error) from None
    try:
        flock(fd, (LOCK_SH if shared else LOCK_EX) | LOCK_NB)
    except OSError as error:
        posix.close(fd)
        if error.errno in (EAGAIN, EACCES):
            return BUSY
        raise because(f"cannot lock `{path}`", error) from None
    # deleted, and perhaps made anew, between the open and the lock: then it is another one
    if posix.fstat(fd).st_nlink:
        return fd
    posix.close(fd)
    return BUSY


def wait(path: str, timeout: float) -> int:
    """Return the same after waiting up to `timeout` seconds for the lock. Raises Error."""
    deadline = monotonic() + timeout
    while True:
        lock = take(path)
        if lock != BUSY or monotonic() >= deadline:
            return lock
        sleep(STEP)

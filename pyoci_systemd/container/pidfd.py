"""The first process, handed to whoever listens on --pidfd-socket (or where run.oci.pidfd_receiver says)."""

from __future__ import annotations

import posix

from ..errors import because
from . import unixsocket

PATIENCE = 10.0


def send(path: str, pid: int) -> None:
    """Send a pidfd of `pid`, a child of ours, to the socket at `path`. Raises Error."""
    fd = posix.pidfd_open(pid)
    try:
        unixsocket.send(path, b"pidfd", fd, PATIENCE)
    except OSError as error:
        raise because(f"cannot send the pidfd to `{path}`", error) from None
    finally:
        posix.close(fd)

"""The listener of a seccomp filter, passed on to whoever answers for it.

config-linux.md, "The Container Process State".
"""

from __future__ import annotations

import posix
from _socket import SCM_RIGHTS, SOL_SOCKET
from _struct import pack

from .. import jsonio
from ..errors import because
from ..plan import seccomp
from ..spec.kept import kept
from . import unixsocket
from .state import OCI_VERSION, describe
from .store import CONFIG, Container

PATIENCE = 10.0


def pass_on(container: Container, listener: int, pid: int) -> None:
    """Send `listener`, and whose it is, to the socket that the config names: `pid` is a process of the container.

    The descriptor is closed. Raises Error.
    """
    config = kept(jsonio.contents(f"{container.path}/{CONFIG}"), CONFIG)
    path, metadata = seccomp.listener(config, container.known.bundle, container.known.seccomp_receiver)
    state = describe(container)
    if pid == container.known.pid:
        state["status"] = "created"  # what its program is to be does not run yet
    message: dict[str, object] = {"ociVersion": OCI_VERSION, "fds": ["seccompFd"], "pid": pid}
    if metadata:
        message["metadata"] = metadata
    message["state"] = state
    text = jsonio.dumps(message).encode("utf-8", "surrogateescape")
    peer = None
    try:
        peer = unixsocket.connect(path, PATIENCE)
        sent = peer.sendmsg([text], [(SOL_SOCKET, SCM_RIGHTS, pack("=i", listener))])
        if sent < len(text):  # even nothing cannot be sent to an agent that has read it all and hung up
            peer.sendall(text[sent:])
    except OSError as error:
        raise because(f"cannot send the listener of the seccomp filter to `{path}`", error) from None
    finally:
        posix.close(listener)
        if peer:
            peer.close()

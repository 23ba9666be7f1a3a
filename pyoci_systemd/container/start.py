"""`pyoci start`: let the program run."""

from __future__ import annotations

import posix

from ..errors import Error, because
from ..init.dialogue import GATE, PATIENCE, Init
from ..settings import environ
from . import identity, process, unixsocket
from .laststeps import await_started
from .store import START, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Start a created container. Returns when its program runs; raises Error."""
    container = Container(settings.root, identity.check(options.id))
    status = container.status()
    if status != "created":
        raise refusal(container.id, status)
    if not container.known.last_steps:
        raise Error(f"cannot start `{container.id}`: its config.json has no process")
    init = Init(connect(container), 0)
    if not container.known.notify or not environ("NOTIFY_SOCKET"):
        go(settings, container, init)
        return 0
    from .service import listen_for_start  # for who is run by a service manager alone

    proxy = listen_for_start(container.path, container.known)
    try:
        go(settings, container, init)
        proxy.until_ready()
    finally:
        proxy.close()
    return 0


def go(settings: Settings, container: Container, init: Init) -> None:
    """Let it run its program, and wait until it does. Raises Error."""
    init.let_through()
    # of many that start it, the init answers one; the others find the socket closed
    try:
        reply = init.receive()
    except ConnectionError:
        reply = None
    if reply is None or reply.kind != GATE:
        raise refusal(container.id, container.status())
    posix.unlink(f"{container.path}/{START}")
    kinds = container.known.hooks
    if "startContainer" in kinds or "poststart" in kinds:
        from . import starthooks

        starthooks.start(settings, container, init)
        return
    try:
        await_started(container, init)
    except Error:
        # so that whoever asks next finds it stopped
        process.wait_gone(container.known.pid, container.known.start_time, PATIENCE)
        raise


def connect(container: Container) -> socket:
    """Return a connection to the container that waits. Raises Error."""
    try:
        return unixsocket.connect(f"{container.path}/{START}", PATIENCE)
    except (ConnectionError, FileNotFoundError):
        raise refusal(container.id, container.status()) from None
    except OSError as error:
        raise because(f"cannot start `{container.id}`", error) from None


def refusal(container_id: str, status: str) -> Error:
    """Return the error for a container that does not wait for its start."""
    word = "already started" if status in ("created", "running") else status
    return Error(f"cannot start `{container_id}`: container is {word}")

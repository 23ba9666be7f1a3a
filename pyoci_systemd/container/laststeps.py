"""The last of the dialogue with an init: from the gate to the program."""

from __future__ import annotations

import posix
from _signal import SIGKILL

from ..errors import Error, failure
from ..init.dialogue import ERROR, PATIENCE, Died
from . import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..init.dialogue import Init, Reply
    from .store import Container


def await_program(container: Container, init: Init, pid: int, explain: Callable[[Reply], Error]) -> None:
    """Wait until the init, which is process `pid` of a container, has become its program: it closes its channel then.

    The listener of a seccomp filter is passed on on the way. Raises Error when any of it failed; the process may then
    still be there, and wait for an answer that nobody gives.
    """
    try:
        reply = init.receive()
        if reply and reply.fd >= 0:
            from . import listener  # few containers have one

            listener.pass_on(container, reply.fd, pid)
            init.let_through()
            reply = init.receive()
    except TimeoutError:
        raise Error(f"container `{container.id}` did not start within {PATIENCE:.0f} s") from None
    except ConnectionError:
        reply = None
    if reply and reply.kind == ERROR:
        raise explain(reply)
    if reply is None and died(pid):
        raise Died


def died(pid: int) -> bool:
    """Say whether an init ended and never became its program: that closes its channel too.

    The name goes with the execve, a moment after the channel: asked twice, lest a program that ran in between counts.
    """
    return (
        process.name(pid) == process.INIT and process.status(pid)[0] in ("Z", "X") and process.name(pid) == process.INIT
    )


def await_started(container: Container, init: Init) -> None:
    """Wait until the container's program runs, as `start` does. Raises Error; the container is stopped then."""
    known = container.known
    try:
        await_program(container, init, known.pid, lambda reply: explain(container, reply))
    except BaseException as error:
        from . import oomkill  # of those alone that fail

        cause = oomkill.blamed(error, known.pid, known.start_time)
        process.send_signal(known.pid, known.start_time, SIGKILL)
        raise cause from None


def explain(container: Container, reply: Reply) -> Error:
    """Return the error for a last step that failed: `start` has no plan any more, only what the state remembers."""
    complaints = dict(container.known.last_steps)
    return Error(failure(complaints.get(reply.index, f"step {reply.index}"), posix.strerror(reply.error)))

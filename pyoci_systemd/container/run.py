"""`pyoci run`: create, start, and wait for the end."""

from __future__ import annotations

from ..init.dialogue import ERROR
from . import delete
from .creation import Creation
from .foreground import Foreground

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Run a container. Returns its exit status, 0 at once with --detach; raises Error."""
    creation = Creation(settings, options, wait_for_start=False)
    try:
        creation.plan()
        creation.build()
        creation.commit()
        await_workload(creation)
    finally:
        creation.reap_helper()
    if options.detach:
        return 0
    shares_pids = not any(n["type"] == "pid" for n in creation.config["linux"]["namespaces"])
    front = Foreground(creation.init.pid, creation.master, reap_orphans=shares_pids and not options.no_subreaper)
    try:
        return front.wait()
    finally:
        if not options.keep:
            delete.remove(settings.root, options.id, force=True)


def await_workload(creation: Creation) -> None:
    """Wait until the init has become the workload: then its end of the channel is closed. Raises Error."""
    try:
        reply = creation.init.receive()
    except ConnectionError:
        reply = None
    if reply and reply.kind == ERROR:
        error = creation.explain(reply)
        creation.undo(error)
        raise error

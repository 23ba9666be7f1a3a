"""`pyoci run`: create, start, and wait for the end."""

from __future__ import annotations

from ..init.dialogue import GATE
from ..plan.hooks import AT_START
from ..plan.words import START_GATE
from . import delete
from .creation import Creation
from .foreground import Foreground, catch_signals
from .laststeps import await_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings
    from .foreground import Watcher
    from .notify import Proxy

KILLED = 128 + 9  # the exit status of a container that SIGKILL ended


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
    try:
        reap_orphans = shares_pids and not options.no_subreaper
        status = await_end(creation, reap_orphans, options.keep)
        if status == KILLED:
            from . import oomkill  # of those alone that end so

            oomkill.tell(creation.container, creation.made.limits)
        return status
    finally:
        if not options.keep:
            delete.remove(settings.root, options.id, force=True)


def await_end(creation: Creation, reap_orphans: bool, keep: bool) -> int:
    """Wait for the end of a container, and write down how it ended if it is kept. Returns its exit status."""
    watching: list[Watcher] = [proxy] if (proxy := notified(creation)) else []
    if not keep:
        return Foreground(creation.init.pid, creation.master, reap_orphans, watching).wait()
    from ..cgroup.oom import Kills  # of containers alone that somebody will look at
    from . import ending

    kills = Kills(creation.known.cgroup)
    waiting = Foreground(creation.init.pid, creation.master, reap_orphans, [kills, *watching])
    status = waiting.wait()
    ending.record(creation.container, ending.how(waiting.ended, kills.any()))
    return status


def notified(creation: Creation) -> Proxy | None:
    """Return where the container tells how it is, when there is a service manager who wants to know."""
    return creation.service.proxy if creation.service else None


def await_workload(creation: Creation) -> None:
    """Take the init over its last steps until it has become the workload, hooks before and after. Raises Error."""
    try:
        if AT_START in creation.known.hooks:
            creation.init.expect(GATE, creation.explain, START_GATE)
            creation.run_hooks(AT_START)
            creation.init.let_through()
        await_program(creation.container, creation.init, creation.init.pid, creation.explain)
        creation.run_hooks("poststart")
        if creation.options.detach and (proxy := notified(creation)):
            proxy.until_ready(catch_signals())
            proxy.close()
        if creation.devices:
            creation.devices.close()
    except BaseException as error:
        raise creation.undo(error) from None

"""`pyoci run`: create, start, and wait for the end."""

from __future__ import annotations

import _signal
import posix

from ..errors import Error, because
from ..init.dialogue import GATE
from ..plan import overrides
from ..plan.hooks import AT_START
from ..plan.words import START_GATE
from ..settings import environ
from . import delete
from .caller import reap
from .creation import Creation
from .foreground import Foreground, catch_signals
from .laststeps import await_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings
    from ..systemd.notify import Manager
    from .foreground import Watcher
    from .notify import Proxy
    from .output import Output

READY_DEADLINE = 30.0  # seconds for a busy systemd to take our word
KILLED = 128 + 9  # the exit status of a container that SIGKILL ended


def main(settings: Settings, options: Options) -> int:
    """Run a container. Returns its exit status, 0 at once with --detach; raises Error."""
    creation = Creation(settings, options, wait_for_start=False)
    try:
        manager = ear(options)
        creation.plan()
        stop_signal = overrides.stop_signal(creation.config) or _signal.SIGTERM
        printed = None
        if options.journal in ("output", "all"):
            from . import output  # few have it looked after by us

            output.check(creation.config)
            stays = creation.made.manager == "split" and not options.detach
            printed = output.Output(options.id) if stays else None
            creation.stdio = printed.stdio if printed else output.sockets(options.id, creation.made.unit)
        creation.build()
        creation.commit()
        await_workload(creation, manager)
    finally:
        reap(settings.warm_pid)
    if options.detach:
        return 0
    shares_pids = not any(n["type"] == "pid" for n in creation.config["linux"]["namespaces"])
    try:
        reap_orphans = shares_pids and not options.no_subreaper
        status = await_end(creation, reap_orphans, stop_signal, printed)
        if status == KILLED:
            from . import oomkill  # of those alone that end so

            oomkill.tell(creation.container, creation.made.limits)
        return status
    finally:
        if not options.keep:
            delete.remove(settings.root, options.id, force=True)


def await_end(creation: Creation, reap_orphans: bool, stop_signal: int, printed: Output | None) -> int:
    """Wait for the end of a container, and tell how it ended to those who asked for it. Returns its exit status."""
    watching: list[Watcher] = [watcher for watcher in (notified(creation), printed) if watcher]
    kills = None
    if creation.options.keep:
        from ..cgroup.oom import Kills  # of containers alone that somebody will look at

        kills = Kills(creation.known.cgroup)
        watching.append(kills)
    waiting = Foreground(creation.init.pid, creation.master, reap_orphans, watching, stop_signal)
    try:
        status = waiting.wait()
    finally:
        if printed:
            printed.drain()
    if kills:
        from . import ending

        ending.record(creation.container, ending.how(waiting.ended, kills.any()))
    by = posix.WTERMSIG(waiting.ended) if posix.WIFSIGNALED(waiting.ended) else 0
    creation.known.tell("died", EXIT_CODE="killed" if by else "exited", EXIT_STATUS=str(by or status))
    return status


def notified(creation: Creation) -> Proxy | None:
    """Return where the container tells how it is, when there is a service manager who wants to know."""
    return creation.service.proxy if creation.service else None


def await_workload(creation: Creation, manager: Manager | None) -> None:
    """Take the init over its last steps until it has become the workload, hooks before and after. Raises Error.

    Then tell it to `manager`, if that is for us to do.
    """
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
        if manager:
            ready(creation, manager)
        creation.known.tell("started")
    except BaseException as error:
        raise creation.undo(error) from None


def ear(options: Options) -> Manager | None:
    """Return who waits for our word that the program runs; None when that is not ours to say. Raises Error."""
    if options.notify != "runtime":
        return None
    from ..systemd import notify  # in services alone

    address = environ("NOTIFY_SOCKET")
    if not address:
        raise Error("--notify=runtime: NOTIFY_SOCKET is not set", hint="it is for a service with `Type=notify`")
    return notify.Manager(address)


def ready(creation: Creation, manager: Manager) -> None:
    """Tell systemd that the program runs; and, where we do not stay, that it is the service's main process.

    Raises Error.
    """
    pid = creation.init.pid
    main_pid = [b"MAINPID=%d" % pid] if creation.options.detach else []
    try:
        manager.insist([b"READY=1", *main_pid, b"STATUS=running as process %d" % pid], READY_DEADLINE)
    except OSError as error:
        raise because("cannot tell systemd that the container runs", error) from None

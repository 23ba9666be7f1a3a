"""`pyoci run`: create, start, and wait for the end."""

from __future__ import annotations

import _signal

from ..errors import Error
from ..init.dialogue import GATE
from ..plan.hooks import AT_START
from ..plan.words import START_GATE
from ..settings import environ
from . import delete, signals
from .creation import Creation
from .foreground import Foreground
from .laststeps import await_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings
    from ..spec.types import Config

STOP_SIGNAL = "org.opencontainers.image.stopSignal"


def main(settings: Settings, options: Options) -> int:
    """Run a container. Returns its exit status, 0 at once with --detach; raises Error."""
    creation = Creation(settings, options, wait_for_start=False)
    address = listener(options)
    try:
        creation.plan()
        stop_signal = asked_stop_signal(creation.config)
        creation.build()
        creation.commit()
        await_workload(creation, address)
    finally:
        creation.reap_helper()
    if options.detach:
        return 0
    shares_pids = not any(n["type"] == "pid" for n in creation.config["linux"]["namespaces"])
    try:
        reap_orphans = shares_pids and not options.no_subreaper
        foreground = Foreground(creation.init.pid, creation.master, reap_orphans, stop_signal)
        status = foreground.wait()
        by = foreground.ended_by
        creation.tell("died", EXIT_CODE="killed" if by else "exited", EXIT_STATUS=str(by or status))
        return status
    finally:
        if not options.keep:
            delete.remove(settings.root, options.id, force=True)


def await_workload(creation: Creation, address: str) -> None:
    """Take the init over its last steps until it has become the workload, hooks before and after. Raises Error.

    Then tell it to systemd, which listens at `address`, if that is for us to do.
    """
    try:
        if AT_START in creation.known.hooks:
            creation.init.expect(GATE, creation.explain, START_GATE)
            creation.run_hooks(AT_START)
            creation.init.let_through()
        await_program(creation.container, creation.init, creation.init.pid, creation.explain)
        creation.run_hooks("poststart")
        if creation.devices:
            creation.devices.close()
        if address:
            ready(creation, address)
        creation.tell("started")
    except BaseException as error:
        creation.undo(error)
        raise


def asked_stop_signal(config: Config) -> int:
    """Return the signal by which the image asks to be stopped, SIGTERM when it does not say. Raises Error."""
    name = (config.get("annotations") or {}).get(STOP_SIGNAL)
    try:
        return signals.number(name) if name else _signal.SIGTERM
    except Error as error:
        raise Error(f"config.json: annotations: `{STOP_SIGNAL}`: {error.message}") from None


def listener(options: Options) -> str:
    """Return where systemd waits for a word of the runtime's, "" when it waits for none. Raises Error."""
    if options.notify != "runtime":
        return ""
    from ..systemd import notify

    address = environ("NOTIFY_SOCKET")
    notify.refuse(address)
    return address


def ready(creation: Creation, address: str) -> None:
    """Tell systemd that the program runs; and, where we do not stay, that it is the service's main process."""
    from ..systemd import notify

    pid = creation.init.pid
    main_pid = [f"MAINPID={pid}"] if creation.options.detach else []
    notify.send(address, notify.READY, *main_pid, f"STATUS=running as process {pid}")

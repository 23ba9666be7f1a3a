"""A container that systemd-machined lists: `create` and `run` with --machine, and its end.

machined knows a machine by the unit of its first process: it forgets it when that unit is gone, and it stops that unit
for `machinectl terminate`. So the unit must be the container's, a scope or a service that runs it alone.
"""

from __future__ import annotations

import posix
from time import monotonic, sleep

from .. import kernelfs, log
from ..cgroup import tree
from ..errors import BusError, Error
from ..settings import is_rootless
from ..systemd import machined
from . import scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.machine import Machine
    from ..plan.plan import Plan
    from .store import Known

DEADLINE = 30.0  # seconds for machined, which may have to be started
PATIENCE = 5.0  # seconds for it at the end of a container, which waits for nobody longer
NOTICE = 2.0  # seconds for it to hear from systemd that a scope is gone
PAUSE = 0.01
REMEDY = "apt install systemd-container"
OF_USERS = "it comes with systemd 259"  # the first of which a user has one


def check(made: Plan) -> None:
    """Refuse what machined would refuse, or do to others than the container. Raises Error."""
    assert made.machine
    if made.manager == "split":
        from ..cgroup import split  # in services alone

        require_own(split.whole())
    name, deadline = made.machine.name, monotonic() + DEADLINE
    try:
        with scope.connect() as bus:
            if machined.find(bus, name, deadline=deadline):
                raise taken(name)
            if made.manager == "split":
                require_free(machined.of_process(bus, posix.getpid(), deadline=deadline))
    except BusError as error:
        raise explained(name, error) from None


def register(machine: Machine, known: Known) -> None:
    """Have machined list the container, which is in its unit. Raises Error."""
    deadline = monotonic() + DEADLINE
    # a path that is no text cannot be said on the bus
    root = known.rootfs if known.rootfs.isprintable() else ""
    try:
        with scope.connect() as bus:
            require_free(machined.of_process(bus, known.pid, deadline=deadline))
            machine_id = bytes.fromhex(machine.id)
            machined.register(bus, machine.name, machine_id, known.pid, root, deadline=deadline)
    except BusError as error:
        raise explained(machine.name, error) from None


def forget(known: Known) -> None:
    """See to it that machined does not list the container any more, whose processes and scope are gone.

    With the scope it does so by itself; that is waited for, so the name is free. In a service it is told. What it says
    under the name may by now be another container's, which is left alone. An error is logged: there is nothing to mend.
    """
    deadline = monotonic() + PATIENCE
    noticed = monotonic() + NOTICE if known.unit else 0.0
    try:
        with scope.connect() as bus:
            while (found := machined.find(bus, known.machine, deadline=deadline)) and is_of(found, known):
                if monotonic() > noticed:
                    return machined.unregister(bus, known.machine, deadline=deadline)
                sleep(PAUSE)
    except BusError as error:
        tell = log.debug if error.name in (*machined.ABSENT, machined.MASKED) else log.warning
        tell(f"machine `{known.machine}`: {error.message}")


def is_of(found: machined.Machine, known: Known) -> bool:
    """Is it the container that machined lists. Of one whose create was killed only the place is known."""
    if found.service != machined.SERVICE or (known.unit and found.unit != known.unit):
        return False
    if known.pid:
        return found.leader == known.pid
    return found.root == known.rootfs and not kernelfs.exists(f"/proc/{found.leader}")


def require_own(cgroup: str) -> None:
    """Refuse to have a unit listed that is more than the service whose `cgroup` is split. Raises Error.

    machined goes by the outermost unit: below a user's manager it is that whole manager.
    """
    path = cgroup.removeprefix(tree.ROOT)
    units = [part for part in path.split("/") if part and not part.endswith(".slice")]
    if len(units) != 1 or not units[0].endswith((".service", ".scope")):
        unit = units[0] if units else "-.slice"
        raise Error(
            f"--machine: machined would take the whole of `{unit}` for the container",
            hint="run it by a service of the system's, or in a scope: `--cgroup-manager=systemd`",
        )


def require_free(found: machined.Machine | None) -> None:
    """Refuse a unit that has a machine: told of a second one, machined stops the unit. Raises Error."""
    if found:
        raise Error(
            f"`{found.unit}` is the machine `{found.name}` already", hint=f"`machinectl status {found.name}` shows it"
        )


def taken(name: str) -> Error:
    """Return the error for a name that another machine has."""
    return Error(f"machine `{name}` already exists", hint=f"`machinectl status {name}` shows whose it is")


def explained(name: str, error: BusError) -> Error:
    """Return what the bus has said in the words of the house."""
    if error.name == machined.EXISTS:
        return taken(name)
    if error.name in machined.ABSENT:
        if is_rootless():
            text = f"machine `{name}`: the user has no systemd-machined: {OF_USERS}"
            return Error(text, hint="do without `--machine`: the machine's own is for root's containers alone")
        return Error(f"machine `{name}`: there is no systemd-machined", hint=REMEDY)
    text = f"machine `{name}`: {error.message}"
    if error.name == machined.MASKED:
        return BusError(error.name, text, hint="`systemctl unmask systemd-machined`")
    return BusError(error.name, text, hint=error.hint or "`systemctl status systemd-machined` shows how it is")

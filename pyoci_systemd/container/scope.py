"""The container's scope: started, told from others' by its marker, and cleared away."""

from __future__ import annotations

from time import monotonic

from .. import kernelfs, log
from ..errors import BusError, Error
from ..settings import environ, is_rootless
from ..systemd import manager
from ..systemd.bus import Bus, system_address
from .store import LEARNED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")
    Property = tuple[str, str, object]

CONNECT_DEADLINE = 10.0
CLEAR_DEADLINE = 30.0
NOT_TWICE = 1.0  # seconds for a systemd that has kept us waiting already; a scope of dead processes goes by itself


def connect() -> Bus:
    """Return a connection to the bus on which our systemd is: the machine's, or the user's own. Raises BusError."""
    deadline = monotonic() + CONNECT_DEADLINE
    if is_rootless():
        from . import session  # for users alone

        return session.connect(deadline)
    name = "DBUS_SYSTEM_BUS_ADDRESS"
    return Bus.connect(system_address({name: environ(name)}), deadline)


def with_pid(properties: Sequence[Property], pid: int) -> list[Property]:
    """Return the properties with the process filled in."""
    return [(name, kind, [pid] if name == "PIDs" else value) for name, kind, value in properties]


def start(
    bus: Bus, unit: str, properties: list[Property], deadline: float, root: str, asked: Sequence[str] = ()
) -> None:
    """Start the scope and wait until it stands. A property that this systemd does not know is left out.

    What systemd has refused before is known below the state root. Raises BusError: also when a unit of that name
    lives, which is not touched; Error for an unknown property if it is one of those that somebody `asked` for by name.
    """
    if kernelfs.exists(f"{root}/{LEARNED}"):
        from . import learned  # where systemd is older than what is asked of it

        known = learned.known(bus, root, properties, deadline)
        properties = [entry for entry in properties if entry in known or entry[0] in asked]
    job, refused = _insist(
        unit, properties, asked, lambda told: manager.start_transient_unit(bus, unit, told, deadline=deadline)
    )
    try:
        manager.wait_job(bus, job, deadline=deadline)
    except BusError as error:
        if error.name != manager.FROZEN:
            raise
        raise BusError(error.name, f"`{unit}`: its slice is frozen", hint="`systemctl thaw` it") from None
    if refused:
        from . import learned

        learned.keep(bus, root, refused, deadline)


def change(
    bus: Bus, unit: str, properties: list[Property], deadline: float, asked: Sequence[str] = ()
) -> list[Property]:
    """Change properties of the scope, but for those that this systemd does not let us change. Returns the others.

    Raises BusError, and Error for one that was `asked` for by name. Nothing is learned: some are for the start alone,
    as OOMPolicy.
    """

    def ask(told: list[Property]) -> None:
        if told:
            manager.set_unit_properties(bus, unit, told, deadline=deadline)

    _, refused = _insist(unit, properties, asked, ask)
    return [entry for entry in properties if entry[0] not in refused]


def _insist(
    unit: str, properties: list[Property], asked: Sequence[str], ask: Callable[[list[Property]], T]
) -> tuple[T, list[str]]:
    """Ask without what systemd refuses, until it refuses nothing. Return the answer, and what it has refused.

    It names one at a time. Raises BusError, also when it refuses what no scope of ours can do without, and Error when
    it is what somebody `asked` for.
    """
    refused: list[str] = []
    while True:
        try:
            return ask([entry for entry in properties if entry[0] not in refused]), refused
        except manager.Unsupported as error:
            name = error.property
            if name in asked:
                from ..plan.scopetable import too_old

                raise Error(f"`{unit}`: {too_old(name)}") from None
            if name in manager.NEEDED or name in refused or not any(entry[0] == name for entry in properties):
                raise
            if len(refused) == manager.MOST_UNKNOWN:
                raise Error(f"systemd refuses too many properties of `{unit}`") from None
            log.debug(f"this systemd does not know the property `{name}`")
            refused.append(name)


def directory(cgroup: str, unit: str) -> str:
    """Return the cgroup of the scope in which the container has its cgroup."""
    return f"{cgroup}/".partition(f"/{unit}/")[0] + f"/{unit}"


def is_ours(bus: Bus, unit: str, mark: str, deadline: float) -> bool:
    """Does the unit carry this container's marker."""
    return mark in manager.unit_properties(bus, unit, "Unit", ("Documentation",), deadline=deadline)["Documentation"]


def clear(unit: str, mark: str, lingers: bool = False, patience: float = CLEAR_DEADLINE) -> None:
    """Stop the scope and let systemd forget it, if there is one and it is ours. Raises BusError.

    `lingers`: it may stay as failed. Otherwise its CollectMode lets it go with the stop. `patience`: seconds.
    """
    deadline = monotonic() + patience
    with connect() as bus:
        if not is_ours(bus, unit, mark, deadline):
            return
        try:
            try:
                manager.stop_unit(bus, unit, deadline=deadline)
            except BusError as error:
                if error.name != manager.FROZEN:
                    raise
                # systemd stops nothing that it has frozen
                thaw(bus, unit, deadline)
                manager.stop_unit(bus, unit, deadline=deadline)
        except BusError as error:
            if error.name == manager.NO_SUCH_UNIT:
                return  # its last process has ended meanwhile, and with that the scope
            lingers = True
            raise
        finally:
            if lingers:
                manager.reset_failed_unit(bus, unit, deadline=deadline)


def thaw(bus: Bus, unit: str, deadline: float) -> None:
    """Thaw the scope, if it has not gone meanwhile, with the last of those that were killed. Raises BusError."""
    try:
        manager.thaw_unit(bus, unit, deadline=deadline)
    except BusError as error:
        if error.name != manager.NO_SUCH_UNIT:
            raise


def attach(unit: str, cgroup: str, pid: int) -> None:
    """Have systemd move a process into `cgroup`, which is in the scope or service `unit`. Raises BusError.

    A user's systemd asks the machine's for what it may not do itself: to take the process out of a login session.
    """
    with connect() as bus:
        below = cgroup.partition(f"/{unit}")[2]
        manager.attach_processes(bus, unit, [pid], subgroup=below, deadline=monotonic() + CLEAR_DEADLINE)

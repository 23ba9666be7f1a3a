"""The container's scope: started, told from others' by its marker, and cleared away."""

from __future__ import annotations

from time import monotonic

from .. import log
from ..errors import BusError, Error
from ..settings import environ, is_rootless
from ..systemd import manager
from ..systemd.bus import Bus, system_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Property = tuple[str, str, object]

CONNECT_DEADLINE = 10.0
CLEAR_DEADLINE = 30.0
MOST_UNKNOWN = 32


def connect() -> Bus:
    """Return a connection to the bus on which our systemd is: the machine's, or the user's own. Raises BusError."""
    deadline = monotonic() + CONNECT_DEADLINE
    if is_rootless():
        from . import session  # for users alone

        return session.connect(deadline)
    name = "DBUS_SYSTEM_BUS_ADDRESS"
    return Bus.connect(system_address({name: environ(name)}), deadline)


def start(bus: Bus, unit: str, properties: list[Property], deadline: float, asked: Sequence[str] = ()) -> None:
    """Start the scope and wait until it stands. A property that this systemd does not know is left out.

    Raises BusError: also when a unit of that name lives, which is not touched; Error for an unknown property if it is
    one of those that somebody asked for by name.
    """
    for _ in range(MOST_UNKNOWN):
        try:
            job = manager.start_transient_unit(bus, unit, properties, deadline=deadline)
            return manager.wait_job(bus, job, deadline=deadline)
        except manager.Unsupported as error:
            if error.property in asked:
                from ..plan.scopetable import too_old

                raise Error(f"`{unit}`: {too_old(error.property)}") from None
            log.debug(f"this systemd does not know the property `{error.property}`")
            fewer = [entry for entry in properties if entry[0] != error.property]
            if len(fewer) == len(properties):
                raise
            properties = fewer
    raise Error(f"systemd refuses too many properties of `{unit}`")


def is_ours(bus: Bus, unit: str, mark: str, deadline: float) -> bool:
    """Does the unit carry this container's marker."""
    return mark in manager.unit_properties(bus, unit, "Unit", ("Documentation",), deadline=deadline)["Documentation"]


def clear(unit: str, mark: str, lingers: bool = False) -> None:
    """Stop the scope and let systemd forget it, if there is one and it is ours. Raises BusError.

    `lingers`: it may stay as failed. Otherwise its CollectMode lets it go with the stop.
    """
    deadline = monotonic() + CLEAR_DEADLINE
    with connect() as bus:
        if not is_ours(bus, unit, mark, deadline):
            return
        try:
            try:
                manager.stop_unit(bus, unit, deadline=deadline)
            except BusError as error:
                if "`frozen`" not in error.message:
                    raise
                # systemd stops nothing that it has frozen
                manager.thaw_unit(bus, unit, deadline=deadline)
                manager.stop_unit(bus, unit, deadline=deadline)
        except BusError:
            lingers = True
            raise
        finally:
            if lingers:
                manager.reset_failed_unit(bus, unit, deadline=deadline)


def attach(unit: str, cgroup: str, pid: int) -> None:
    """Have systemd move a process into `cgroup`, which is in the scope `unit`. Raises BusError.

    A user's systemd asks the machine's for what it may not do itself: to take the process out of a login session.
    """
    with connect() as bus:
        below = cgroup.partition(f"/{unit}")[2]
        manager.attach_processes(bus, unit, [pid], subgroup=below, deadline=monotonic() + CLEAR_DEADLINE)

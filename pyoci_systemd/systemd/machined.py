"""What we ask of systemd-machined, org.freedesktop.machine1(5): that it lists a container, and that it forgets it.

Every function takes the Bus first and a deadline (a value of time.monotonic()), and raises BusError. Imported for
those containers alone that are to be listed.
"""

from __future__ import annotations

from time import monotonic

from ..errors import BusError
from ..record import Record
from .bus import BROKER
from .manager import CLOSED, LOST, PROPERTIES, insist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .bus import Bus

MACHINED = "org.freedesktop.machine1"
ROOT = "/org/freedesktop/machine1"
MANAGER = f"{MACHINED}.Manager"

NO_SUCH_MACHINE = f"{MACHINED}.NoSuchMachine"
NO_MACHINE_OF_PID = f"{MACHINED}.NoMachineForPID"
EXISTS = f"{MACHINED}.MachineExists"
FORGOTTEN = "org.freedesktop.DBus.Error.UnknownObject"  # since we were told its path
ABSENT = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")
MASKED = "org.freedesktop.systemd1.UnitMasked"

SERVICE, CLASS = "pyoci", "container"


class Machine(Record):
    """One that machined lists."""

    name: str
    service: str
    """who has registered it"""
    leader: int
    """the pid of its first process"""
    unit: str
    root: str


def is_there(bus: Bus, *, deadline: float) -> bool:
    """Is there a machined on the bus, or one that would be started when asked. BusError."""
    (names,) = bus.call(BROKER, "/org/freedesktop/DBus", BROKER, "ListActivatableNames", deadline=deadline)
    return MACHINED in names


def register(bus: Bus, name: str, machine_id: bytes, leader: int, root: str, *, deadline: float) -> None:
    """Have the unit that the process `leader` is in listed as the machine `name`.

    `machine_id`: 16 bytes, or none when nobody knows it. BusError `…MachineExists`. The unit must have no machine yet
    (of_process): machined stops a unit that it is told of for a second time.
    """
    # of the host's, that lead to the container: nobody has told us
    interfaces: list[int] = []
    values = (name, machine_id, SERVICE, CLASS, leader, root, interfaces)
    while True:
        try:
            bus.call(MACHINED, ROOT, MANAGER, "RegisterMachineWithNetwork", "sayssusai", values, deadline=deadline)
            return
        except BusError as error:
            # the answer is lost, with machined's or the broker's end; it may have been done
            if error.name != LOST and not (error.name == CLOSED and bus.reconnect(deadline)):
                raise
            found = of_process(bus, leader, deadline=deadline)
            if found and found.name == name:
                return
            if found or monotonic() >= deadline:
                raise


def find(bus: Bus, name: str, *, deadline: float) -> Machine | None:
    """Return the machine of that name, None when there is none. BusError."""
    return _look(bus, "GetMachine", "s", name, deadline)


def of_process(bus: Bus, pid: int, *, deadline: float) -> Machine | None:
    """Return the machine that has the unit of a process, None when there is none. BusError."""
    return _look(bus, "GetMachineByPID", "u", pid, deadline)


def unregister(bus: Bus, name: str, *, deadline: float) -> None:
    """Have a machine forgotten; its unit and processes are left alone. Nothing happens without one. BusError."""
    try:
        _ask(bus, "UnregisterMachine", "s", (name,), deadline)
    except BusError as error:
        if error.name != NO_SUCH_MACHINE:
            raise


def _look(bus: Bus, member: str, signature: str, value: object, deadline: float) -> Machine | None:
    try:
        (path,) = _ask(bus, member, signature, (value,), deadline)
        where = (MACHINED, path, PROPERTIES, "GetAll", "s", (f"{MACHINED}.Machine",))
        (found,) = insist(bus, lambda: bus.call(*where, deadline=deadline), deadline)
    except BusError as error:
        if error.name in (NO_SUCH_MACHINE, NO_MACHINE_OF_PID, FORGOTTEN):
            return None
        raise
    said = {name: value for name, (_, value) in found.items()}
    return Machine(said["Name"], said["Service"], said["Leader"], said["Unit"], said["RootDirectory"])


def _ask(bus: Bus, member: str, signature: str, values: tuple[Any, ...], deadline: float) -> tuple[Any, ...]:
    """Call a method that may be called twice."""
    where = (MACHINED, ROOT, MANAGER, member, signature, values)
    return insist(bus, lambda: bus.call(*where, deadline=deadline), deadline)

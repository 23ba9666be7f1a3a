"""A unit as systemd has it, read by pystemd: for whoever inspects, off the hot path.

It is a second opinion on purpose: what our own client (bus.py) has written is not read back through the same code, nor
decoded by it. So there is no falling back on that where pystemd is missing.
"""

from __future__ import annotations

import posix
from time import monotonic, sleep

from .. import sitepath
from ..errors import BusError, Error
from ..record import Record
from ..settings import runtime_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")

PAUSE = 0.02  # seconds before what was lost is asked again


class Inspected(Record):
    """A unit: what is common to all, and those of the properties asked for that this systemd has."""

    loaded: bool
    documentation: list[str]
    drop_ins: list[str]
    version: str
    """of systemd: `257.9-1~deb13u1`"""
    values: dict[str, object]


class Introduced(Record):
    """Who systemd says it is."""

    version: str
    """`257.9-1~deb13u1`"""
    tainted: str
    """what it finds amiss with the machine (org.freedesktop.systemd1(5), Tainted)"""


def inspect(unit: str, names: Collection[str], deadline: float, of_user: bool = False) -> Inspected:
    """Return a scope as systemd has it, the machine's or the user's. Raises Error if pystemd is missing, BusError."""
    return _insist(f"read `{unit}`", lambda bus: _read(bus, unit, names), deadline, of_user)


def introduce(deadline: float, of_user: bool) -> Introduced:
    """Return what systemd says of itself. Raises as inspect() does."""
    return _insist("ask systemd", _itself, deadline, of_user)


def _insist(what: str, ask: Callable[[Any], T], deadline: float, of_user: bool) -> T:
    """Ask, on one connection: pystemd would open one for each property.

    Again as long as answers are lost, which they are when systemd re-executes itself.
    """
    sitepath.enable()
    try:
        from pystemd import dbusexc
        from pystemd.dbuslib import DBus, DBusAddress
    except ImportError as missing:
        raise Error(
            f"cannot {what}: the Python package `pystemd` is missing", hint="install python3-pystemd"
        ) from missing
    lost = (dbusexc.DBusNoReplyError, dbusexc.DBusDisconnectedError)
    while True:
        # sd-bus reads it once a connection (sd_bus_set_method_call_timeout(3)), and pystemd has no word for it
        posix.putenv("SYSTEMD_BUS_TIMEOUT", f"{max(deadline - monotonic(), PAUSE) * 1000:.0f}ms")
        try:
            # sd_bus_open_user(3) goes by $DBUS_SESSION_BUS_ADDRESS, and a desktop may have a bus without a systemd
            with DBusAddress(f"unix:path={runtime_dir()}/bus".encode()) if of_user else DBus() as bus:
                return ask(bus)
        except dbusexc.DBusBaseError as error:
            if not isinstance(error, lost) or monotonic() >= deadline:
                name = f"org.freedesktop.DBus.Error.{type(error).__name__[4:-5]}"
                raise BusError(name, f"{what}: {plain(error.err_message) or name}") from None
        sleep(PAUSE)


def _read(bus: Any, unit: str, names: Collection[str]) -> Inspected:
    from pystemd.systemd1 import Manager, Unit

    manager, found = Manager(bus=bus, _autoload=True), Unit(unit.encode(), bus=bus, _autoload=True)
    known = found.Scope.properties if hasattr(found, "Scope") else ()
    return Inspected(
        loaded=found.Unit.LoadState == b"loaded",
        documentation=texts(found.Unit.Documentation),
        drop_ins=texts(found.Unit.DropInPaths),
        version=text(manager.Manager.Version),
        values={name: plain(getattr(found.Scope, name)) for name in names if name in known},
    )


def _itself(bus: Any) -> Introduced:
    from pystemd.systemd1 import Manager

    manager = Manager(bus=bus, _autoload=True)
    return Introduced(text(manager.Manager.Version), text(manager.Manager.Tainted))


def texts(values: Iterable[bytes]) -> list[str]:
    """Return strings as ours."""
    return [text(value) for value in values]


def text(value: bytes) -> str:
    """Return a string as ours."""
    return value.decode("utf-8", "surrogateescape")


def plain(value: object) -> object:
    """Return a value with text where pystemd has bytes, at every depth."""
    if isinstance(value, bytes):
        return text(value)
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

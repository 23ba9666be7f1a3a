"""A unit as systemd has it, read by pystemd: for whoever inspects, off the hot path.

It is a second opinion on purpose: what our own client (bus.py) has written is not read back through the same code, nor
decoded by it. So there is no falling back on that where pystemd is missing.
"""

from __future__ import annotations

from time import monotonic, sleep

from .. import sitepath
from ..errors import BusError, Error
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PAUSE = 0.02  # seconds before what was lost is asked again


class Inspected(Record):
    """A unit: what is common to all, and those of the properties asked for that this systemd has."""

    loaded: bool
    documentation: list[str]
    drop_ins: list[str]
    version: str
    """of systemd: `257.9-1~deb13u1`"""
    values: dict[str, object]


def inspect(unit: str, names: Collection[str], deadline: float) -> Inspected:
    """Return a scope as systemd has it. Raises Error where pystemd is missing, BusError.

    It is asked again as long as answers are lost, which they are when systemd re-executes itself.
    """
    sitepath.enable()
    try:
        from pystemd import dbusexc
    except ImportError as missing:
        raise Error(
            f"cannot read `{unit}`: the Python package `pystemd` is missing", hint="install python3-pystemd"
        ) from missing
    lost = (dbusexc.DBusNoReplyError, dbusexc.DBusDisconnectedError)
    while True:
        try:
            return _read(unit, names)
        except dbusexc.DBusBaseError as error:
            if not isinstance(error, lost) or monotonic() >= deadline:
                name = f"org.freedesktop.DBus.Error.{type(error).__name__[4:-5]}"
                raise BusError(name, f"read `{unit}`: {plain(error.err_message) or name}") from None
        sleep(PAUSE)


def _read(unit: str, names: Collection[str]) -> Inspected:
    from pystemd.dbuslib import DBus
    from pystemd.systemd1 import Manager, Unit

    # one connection for all: pystemd would open one for each property
    with DBus() as bus:
        manager, found = Manager(bus=bus, _autoload=True), Unit(unit.encode(), bus=bus, _autoload=True)
        known = found.Scope.properties if hasattr(found, "Scope") else ()
        return Inspected(
            loaded=found.Unit.LoadState == b"loaded",
            documentation=texts(found.Unit.Documentation),
            drop_ins=texts(found.Unit.DropInPaths),
            version=text(manager.Manager.Version),
            values={name: plain(getattr(found.Scope, name)) for name in names if name in known},
        )


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

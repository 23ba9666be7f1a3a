"""A unit as systemd has it, read by pystemd: for whoever inspects, off the hot path.

It is a second opinion on purpose: what our own client (bus.py) has written is not read back through the same code, nor
decoded by it. So there is no falling back on that where pystemd is missing.
"""

from __future__ import annotations

from .. import sitepath
from ..errors import BusError, Error
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Inspected(Record):
    """A unit: what is common to all, and those of the properties asked for that this systemd has."""

    loaded: bool
    documentation: list[str]
    drop_ins: list[str]
    version: str
    """of systemd: `257.9-1~deb13u1`"""
    values: dict[str, object]


def inspect(unit: str, names: Iterable[str]) -> Inspected:
    """Return a scope as systemd has it. Raises Error where pystemd is missing, BusError."""
    sitepath.enable()
    try:
        from pystemd.dbusexc import DBusError
        from pystemd.systemd1 import Manager, Unit
    except ImportError as missing:
        raise Error(
            f"cannot read `{unit}`: the Python package `pystemd` is missing", hint="install python3-pystemd"
        ) from missing
    try:
        with Manager() as manager, Unit(unit.encode()) as found:
            known = found.Scope.properties if hasattr(found, "Scope") else ()
            return Inspected(
                loaded=found.Unit.LoadState == b"loaded",
                documentation=texts(found.Unit.Documentation),
                drop_ins=texts(found.Unit.DropInPaths),
                version=text(manager.Manager.Version),
                values={name: plain(getattr(found.Scope, name)) for name in names if name in known},
            )
    except DBusError as error:
        raise BusError(type(error).__name__, f"read `{unit}`: {str(error) or type(error).__name__}") from None


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

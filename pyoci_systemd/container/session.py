"""The session of a user without privileges: the bus on which the user's own systemd is."""

from __future__ import annotations

from .. import kernelfs, log
from ..errors import BusError, Error
from ..settings import environ, runtime_dir
from ..systemd.bus import Bus
from .caller import owner

ADDRESS = "DBUS_SESSION_BUS_ADDRESS"


def connect(deadline: float) -> Bus:
    """Return a connection to the bus in $XDG_RUNTIME_DIR. Raises BusError.

    It is the only one. $DBUS_SESSION_BUS_ADDRESS may be that of a desktop without a systemd, or of whoever called
    `su`; and on the system bus we would ask for a scope of the machine's, where there was none of the user's.
    """
    try:
        path = f"{runtime_dir()}/bus"
    except Error as error:
        raise BusError("connect", f"no user session bus: {error.message}", hint=error.hint) from None
    other = environ(ADDRESS)
    if other and not other.startswith(f"unix:path={path}"):
        log.debug(f"{ADDRESS} is `{other}`: we do not go by it, but to `{path}`")
    if not kernelfs.exists(path):
        raise missing(path, "it is not there")
    try:
        return Bus.connect(path, deadline)
    except BusError as error:
        raise missing(path, error.message.rpartition(": ")[2]) from None


def missing(path: str, reason: str) -> BusError:
    """Return the error for a bus that nobody answers on."""
    hint = f"`loginctl enable-linger {owner()}` starts a systemd for the user; Debian has the bus in dbus-user-session"
    return BusError("connect", f"no user session bus at `{path}`: {reason}", hint=hint)

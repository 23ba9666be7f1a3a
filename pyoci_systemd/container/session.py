"""The session of a user without privileges: the bus on which the user's own systemd is."""

from __future__ import annotations

from .. import kernelfs, log
from ..errors import BusError, Error
from ..settings import environ, is_rootless, runtime_dir
from ..systemd.bus import Bus
from .caller import owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..spec.types import Config

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


def manager(config: Config, asked: str) -> str:
    """Return who keeps the cgroup of a container that root of a user namespace makes; `asked` says it, unless `auto`.

    Podman knows when its user has no session, says so and how to have one, and then runs us as if there were nobody.
    """
    path = config.get("linux", {}).get("cgroupsPath")
    if asked == "auto" and not path and is_rootless() and not kernelfs.exists(f"{environ('XDG_RUNTIME_DIR')}/bus"):
        return "cgroupfs"
    return asked


def without_cgroup(config: Config, made: Plan, error: Error) -> str:
    """Return "" for the container's own cgroup, of a user who has asked for none (F246). Raises `error` for others."""
    asked = config.get("linux", {}).get("cgroupsPath") or made.limits or made.manager == "split"
    if not is_rootless() or asked:
        raise error
    log.warning(f"the container stays in the cgroup of its caller: {error.message}")
    return ""


def missing(path: str, reason: str) -> BusError:
    """Return the error for a bus that nobody answers on."""
    hint = f"`loginctl enable-linger {owner()}` gives the user a systemd, the package dbus-user-session its bus; "
    hint += "or do without a scope: `--cgroup-manager=cgroupfs`"
    return BusError("connect", f"no user session bus at `{path}`: {reason}", hint=hint)

"""Stopping all of a container's processes where they are, and letting them run on."""

from __future__ import annotations

from time import monotonic, sleep

from ..cgroup.events import event
from ..errors import Error, because
from ..kernelfs import write
from ..plan.marker import marker
from ..systemd import manager
from . import identity, scope
from .store import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings
    from .store import Known

DEADLINE = 10.0
STEP = 0.002  # seconds between two looks at a cgroup that freezes


def set_frozen(settings: Settings, options: Options, frozen: bool) -> None:
    """Freeze or thaw a container; one that is so already is left as it is. Raises Error."""
    verb = "pause" if frozen else "resume"
    container = Container(settings.root, identity.check(options.id))
    container.lock()  # two that freeze and thaw it at once would each wait for what the other undoes
    status = container.status()
    if status not in ("created", "running", "paused"):
        raise Error(f"cannot {verb} `{container.id}`: container not running")
    known = container.known
    if not known.cgroup:
        raise Error(f"cannot {verb} `{container.id}`: it has no cgroup of its own")
    if frozen == (status == "paused"):
        return
    if known.unit:
        _by_systemd(container, known, frozen)
    try:
        _by_cgroup(known.cgroup, frozen)
    except OSError as error:
        raise because(f"cannot {verb} `{container.id}`", error) from None


def _by_systemd(container: Container, known: Known, frozen: bool) -> None:
    """Have systemd do it, so that it knows: `systemctl status` says `frozen`. Raises BusError."""
    deadline = monotonic() + DEADLINE
    with scope.connect() as bus:
        if not scope.is_ours(bus, known.unit, marker(container.absolute()), deadline):
            raise Error(f"`{known.unit}` is not the scope of `{container.id}` any more")
        (manager.freeze_unit if frozen else manager.thaw_unit)(bus, known.unit, deadline=deadline)


def _by_cgroup(cgroup: str, frozen: bool) -> None:
    """Do it by the container's own cgroup, if it has not been done yet, and wait for it. Raises Error, OSError."""
    if event(cgroup, "frozen") == frozen:
        return
    deadline = monotonic() + DEADLINE
    write(f"{cgroup}/cgroup.freeze", "1" if frozen else "0")
    while event(cgroup, "frozen") != frozen:
        if monotonic() >= deadline:
            if frozen:
                write(f"{cgroup}/cgroup.freeze", "0")
            raise Error(f"`{cgroup}` did not {'freeze' if frozen else 'thaw'} within {DEADLINE:.0f} s")
        sleep(STEP)

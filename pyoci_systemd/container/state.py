"""`pyoci state`: what a container is and does, as JSON (runtime-spec, "State")."""

from __future__ import annotations

import sys

from ..jsonio import dumps
from . import identity
from .store import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings

OCI_VERSION = "1.3.0"


def describe(container: Container) -> dict[str, object]:
    """Return the state of a container, keys in crun's order, then how it ended as far as that is known.

    Raises NotFound, Error.
    """
    status = container.status()
    known = container.known
    state: dict[str, object] = {
        "ociVersion": OCI_VERSION,
        "id": container.id,
        "pid": known.pid if status in ("created", "running", "paused") else 0,
        "status": status,
        "bundle": known.bundle,
        "rootfs": known.rootfs,
        "created": known.created,
    }
    if known.unit:
        state["systemd-scope"] = known.unit
    if known.machine:
        state["systemd-machine"] = known.machine
    state["owner"] = known.owner
    if known.annotations:
        state["annotations"] = known.annotations
    if status == "stopped":
        from . import ending  # of those alone that have ended

        if how := ending.of(container):
            state["exit"] = how
    return state


def main(settings: Settings, options: Options) -> int:
    """Print the state. Returns the exit status; raises Error."""
    container = Container(settings.root, identity.check(options.id))
    sys.stdout.write(dumps(describe(container), 2) + "\n")
    return 0

"""Stopping the processes of a cgroup where they are (cgroups(7), "cgroup.freeze")."""

from __future__ import annotations

from time import monotonic, sleep

from ..kernelfs import read, write
from .events import event, gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.002  # seconds between two looks at a cgroup that freezes
PATIENCE = 2.0  # seconds after which what does not freeze sleeps in the kernel, and does not fork either


def set_frozen(path: str, frozen: bool, deadline: float) -> bool:
    """Freeze or thaw a cgroup and wait until it is; false when the deadline passes first. Raises OSError."""
    write(f"{path}/cgroup.freeze", "1" if frozen else "0")
    while event(path, "frozen") != frozen:
        if monotonic() >= deadline:
            return False
        sleep(STEP)
    return True


def while_frozen(path: str, action: Callable[[], None]) -> None:
    """Do something while no process of the cgroup runs, and so none forks; then all is as before. Raises OSError."""
    if event(path, "frozen"):
        action()
        return
    before = read(f"{path}/cgroup.freeze")
    try:
        set_frozen(path, True, monotonic() + PATIENCE)
        action()
    finally:
        try:
            write(f"{path}/cgroup.freeze", before)
        except OSError as error:
            if not gone(error):
                raise

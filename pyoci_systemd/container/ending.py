"""How a container ended: the `exit` of its state.

    code        the exit status of its first process, 128 + the signal's number when a signal ended it, as `run` has it
    signal      that signal
    oom_killed  has the kernel killed a process of the container for want of memory
    result      of the scope, in the words of systemd, when it failed and still stands

Only its parent is told how a process ended, and what a cgroup has counted goes with it. No process of ours stays with
a container, so each key is there when somebody saw it, and is never guessed:

- `run --keep` is the parent; it watches memory.events while it waits, and writes down what it saw;
- so does an `events` that is at work at the end: it reads what a zombie tells, or asks its pidfd (from Linux 6.15 on);
- a first process that nobody has collected yet tells it itself;
- a cgroup that systemd does not remove (`--cgroup-manager=cgroupfs`) goes on counting;
- the kernel's log says that it killed the first process so, until newer messages take the place of these;
- a scope that is told to linger (`org.systemd.property.CollectMode`) says oom-kill, when that is why it failed.

After a detached `run`, or `create` and `start`, whose caller has collected the process and which nobody watched, its
code is known to nobody but that caller, and a kill of another process than the first to nobody.
"""

from __future__ import annotations

import posix
from time import monotonic

from .. import jsonio, kernelfs
from ..cgroup.files import Files
from ..cgroup.keyed import flat, present
from ..cgroup.oom import KILLS
from ..errors import BusError, NotFound
from . import kernellog, lock, process
from .store import Container, boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..cgroup.keyed import Data
    from .store import Known

EXIT = "exit.json"
PATIENCE = 5.0  # seconds for whoever works on the container, or for systemd's answer


def of(container: Container) -> Data:
    """Return what is known of the end of a container that has stopped. Raises Error."""
    known = container.known
    found: Data = {}
    if known.boot_id == boot_id():
        found = {**_scope(known), **how(process.exit_status(known.pid, known.start_time), _counted(known))}
    return _by_log(known, {**found, **_recorded(container)})


def how(status: int | None, oom_killed: bool | None) -> Data:
    """Return a status of wait(2), and what was counted, as the keys of `exit`; what is None is left out. Pure."""
    signal = None if status is None else status & 0x7F  # the next bit says whether there is a core file
    code = None if status is None else 128 + signal if signal else status >> 8 & 0xFF
    return present({"code": code, "signal": signal or None, "oom_killed": oom_killed})


def record(container: Container, found: Data) -> Data:
    """Write down what was seen of the end of a container, and return it; who else saw it adds what is new.

    Nothing is written when the container has been deleted meanwhile. Raises Error.
    """
    found = _by_log(container.known, found)
    held = lock.wait(container.path, PATIENCE)
    if held < 0:
        return found  # deleted, or being deleted
    try:
        # it may have been deleted, and made anew
        if _same(container) and (found := {**found, **_recorded(container)}):
            container.write_file(EXIT, jsonio.dumps(found).encode())
    finally:
        posix.close(held)
    return found


def _by_log(known: Known, found: Data) -> Data:
    """Return what was found, and what the kernel's log adds to it."""
    if "oom_killed" in found or known.boot_id != boot_id():
        return found
    return {**found, "oom_killed": True} if kernellog.killed(known.pid, known.start_time) else found


def _same(container: Container) -> bool:
    ours = container.known
    try:
        found = Container(container.root, container.id).known
    except NotFound:
        return False
    return (found.pid, found.start_time, found.boot_id) == (ours.pid, ours.start_time, ours.boot_id)


def _recorded(container: Container) -> Data:
    path = f"{container.path}/{EXIT}"
    found = jsonio.read(path, EXIT) if kernelfs.exists(path) else {}
    return found if isinstance(found, dict) else {}


def _counted(known: Known) -> bool | None:
    """Return whether the container's cgroup, where there still is one, has counted a kill."""
    counts = flat(Files(known.cgroup).text("memory.events")) if known.cgroup else {}
    return bool(counts[KILLS]) if KILLS in counts else None


def _scope(known: Known) -> Data:
    """Return what a scope says that has failed and still stands; others have gone with their cgroup."""
    if not known.unit or not known.lingers:
        return {}
    from ..systemd import manager
    from . import scope

    deadline = monotonic() + PATIENCE
    try:
        with scope.connect() as bus:
            result = manager.unit_properties(bus, known.unit, "Scope", ("Result",), deadline=deadline)["Result"]
    except BusError:
        return {}  # it has gone, or systemd does not say
    if result == "success":
        return {}
    return present({"oom_killed": True if result == "oom-kill" else None, "result": result})

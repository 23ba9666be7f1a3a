"""`pyoci kill`: send a signal."""

from __future__ import annotations

import _signal
import posix

from .. import signalname
from ..cgroup.events import event
from ..errors import Error, because
from . import identity, process
from .store import Container, boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings
    from .store import Known

PATIENCE = 1.0  # seconds for a pause or a resume


def main(settings: Settings, options: Options) -> int:
    """Signal one container, or with --regex each that matches. Returns the exit status; raises Error."""
    number = signalname.number(options.signal)
    if not options.regex:
        signal_container(Container(settings.root, identity.check(options.id)), number, options.all)
        return 0
    from .matching import matching

    for container_id in matching(settings.root, options.id):
        container = Container(settings.root, container_id)
        if container.status() in ("created", "running", "paused"):
            signal_container(container, number, options.all)
    return 0


def signal_container(container: Container, number: int, everything: bool) -> None:
    """Send signal `number` to the container's first process, or to all of them. Raises NotFound, Error."""
    known = container.known
    # the pids and cgroups of another boot are somebody else's by now
    ours = known.boot_id == boot_id()
    try:
        if everything and ours and (populated(known) if known.cgroup else known.pid):
            signal_all(container, number)
        elif not known.pid or not ours or not process.send_signal(known.pid, known.start_time, number):
            # these words tell containerd and CRI-O that there is nothing left to kill
            raise Error(f"cannot kill `{container.id}`: container not running")
    except OSError as error:
        raise because(f"cannot kill `{container.id}`", error) from None


def populated(known: Known) -> bool:
    """Does anybody live in the container's cgroup, if that is still its own."""
    return known.has_its_cgroup() and event(known.cgroup, "populated")


def signal_all(container: Container, number: int) -> None:
    """Send a signal to every process of a container. Raises Error, OSError.

    They are frozen meanwhile: one that forks faster than we read would never be met. To a paused container it is sent,
    too, and arrives when that is resumed.
    """
    from ..cgroup import freezer, tree  # few ask for all
    from . import lock, members

    known = container.known

    def send() -> None:
        for pid in members.pids(known):
            process.send_signal(pid, process.start_time(pid), number)

    cgroup = known.cgroup
    if cgroup and number == _signal.SIGKILL:
        tree.kill(cgroup)
        return
    if not cgroup or f"{tree.of_process(posix.getpid())}/".startswith(f"{cgroup}/"):
        send()  # nothing to freeze; or we are a hook in there, and would never thaw ourselves
        return
    # no pause or resume meanwhile: that would take our freezing for its own. But a `start` has it as well while its
    # hooks run, and one of these may be who sends this
    held = lock.wait(container.path, PATIENCE)
    # nor may a signal that ends us leave it frozen
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        freezer.while_frozen(cgroup, send)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        if held >= 0:
            posix.close(held)

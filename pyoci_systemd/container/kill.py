"""`pyoci kill`: send a signal."""

from __future__ import annotations

import _signal

from .. import signalname
from ..errors import Error, because
from . import identity, process
from .store import Container, boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings


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
        if everything and known.cgroup and ours:
            signal_all(known.cgroup, number)
        elif not known.pid or not ours or not process.send_signal(known.pid, known.start_time, number):
            # these words tell containerd and CRI-O that there is nothing left to kill
            raise Error(f"cannot kill `{container.id}`: container not running")
    except OSError as error:
        raise because(f"cannot kill `{container.id}`", error) from None


def signal_all(cgroup: str, number: int) -> None:
    """Send a signal to every process of a cgroup. One that forks meanwhile is met in the next round. Raises OSError."""
    from ..cgroup import tree  # 7 kB of code; few ask for all

    if number == _signal.SIGKILL:
        tree.kill(cgroup)
        return
    met: set[int] = set()
    while new := [pid for pid in tree.processes(cgroup) if pid not in met]:
        met.update(new)
        for pid in new:
            process.send_signal(pid, process.start_time(pid), number)

"""`pyoci events`: what befalls a container, one JSON object a line, as runc prints it.

    {"type": "stats", "id": "web", "data": {"cpu": …, "memory": …, …}}    every interval
    {"type": "oom", "id": "web"}        the kernel has killed a process of the container for want of memory
    {"type": "state", "id": "web", "data": {"status": "paused"}}          with --state

The last is not runc's: a reader that takes whatever has `data` for statistics would be misled, so it is there for those
who ask. Its first line is the status there is, its last `stopped`, with the state's `exit` as far as it is known.
"""

from __future__ import annotations

from select import POLLIN, POLLPRI, poll
from time import monotonic

from ..cgroup.oom import Kills
from ..cgroup.watched import Watched
from ..errors import Error
from ..jsonio import dumps
from . import duration, ending, identity, pidinfo, process, stream
from .statistics import statistics
from .store import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings

LIVING = ("created", "running", "paused")
INTERVAL = "5s"
LOOK = 1.0  # seconds between two looks at the status with --state: nobody tells of a container that was started


def main(settings: Settings, options: Options) -> int:
    """Print the events of a container until it stops. Returns the exit status; raises Error."""
    every = duration.seconds(options.interval or INTERVAL, "--interval")
    stream.end_quietly()
    container = observed(settings.root, options.id)
    try:
        if options.stats:
            say("stats", container, statistics(container.known))
        else:
            Follower(container, options.state).follow(every)
    except stream.Hangup:
        pass
    return 0


def observed(root: str, container_id: str) -> Container:
    """Return a container that lives and has a cgroup. Raises NotFound, Error."""
    container = Container(root, identity.check(container_id))
    if container.status() not in LIVING:
        raise Error(f"cannot observe `{container.id}`: container not running")
    if not container.known.cgroup:
        raise Error(f"cannot observe `{container.id}`: it has no cgroup of its own")
    return container


def say(kind: str, container: Container, data: dict[str, object] | None = None) -> None:
    """Print one event. Raises Hangup, Error."""
    event = {"type": kind, "id": container.id, **({} if data is None else {"data": data})}
    stream.say(dumps(event) + "\n")


class Follower:
    """One container, watched until its first process ends or its cgroup is empty."""

    def __init__(self, container: Container, states: bool) -> None:
        known = container.known
        self.container = container
        self.states = states
        self.status = ""
        """as last said"""
        self.pidfd = process.open_pidfd(known.pid, known.start_time)
        self.cgroup = Watched(f"{known.cgroup}/cgroup.events")
        self.kills = Kills(known.cgroup)

    def follow(self, every: float) -> None:
        """Print its events, and write down how it ended. Raises Hangup, Error."""
        due = monotonic()
        while self._look():
            if monotonic() >= due:
                say("stats", self.container, statistics(self.container.known))
                due = max(due + every, monotonic())
            self._wait(due - monotonic())
        self._end()

    def _wait(self, seconds: float) -> None:
        waiting = poll()
        waiting.register(self.pidfd, POLLIN)
        for fd in (self.cgroup.fd, self.kills.fd):
            if fd >= 0:
                waiting.register(fd, POLLPRI)
        stream.rest(waiting, max(0.0, min(seconds, LOOK if self.states else seconds)))

    def _look(self) -> bool:
        """Say what is new, and return whether the container lives. The kills first: they may be why it does not."""
        ended = self.pidfd < 0 or process.ended(self.pidfd)
        for _ in range(self.kills.look()):
            say("oom", self.container)
        if ended or "populated 1" not in self.cgroup.text().splitlines():
            return False
        status = self.container.status() if self.states else self.status
        if status not in (self.status, "stopped"):
            say("state", self.container, {"status": status})
        self.status = status
        return status != "stopped"

    def _exit_status(self) -> int | None:
        if self.pidfd < 0:
            return None
        # a cgroup is empty a moment before its last process has ended
        process.ended(self.pidfd, LOOK)
        known = self.container.known
        status = process.exit_status(known.pid, known.start_time)
        return pidinfo.exit_status(self.pidfd) if status is None else status

    def _end(self) -> None:
        how = ending.record(self.container, ending.how(self._exit_status(), self.kills.any()))
        if how.get("oom_killed") and not self.kills.count:
            say("oom", self.container)  # the cgroup had gone before we could look; the kernel's log tells
        if self.states:
            say("state", self.container, {"status": "stopped", **({"exit": how} if how else {})})

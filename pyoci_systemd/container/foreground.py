"""`run` in the foreground: signals go to the container, its terminal is ours, its exit status becomes ours."""

from __future__ import annotations

import _signal
import posix
from select import POLLIN, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import Protocol

    from .relay import Relay

    class Watcher(Protocol):
        """Something of the container's that is looked after meanwhile."""

        def register(self, watched: poll) -> int | None:
            """Say what is waited for; return for how many milliseconds at most, None for ever."""

        def handle(self, ready: Collection[int]) -> None:
            """Do what there is to do, when these descriptors are ready."""


# not passed on: they concern our own output and terminal; one that is somebody else's at the moment must not stop us
IGNORED = (_signal.SIGPIPE, _signal.SIGTTIN, _signal.SIGTTOU)
FATAL = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)
LAST = 64


class Foreground:
    """The wait for one container. `master` is its terminal's other side, -1 for none.

    `stop_signal` is what SIGTERM is passed on as: what its image has for a request to stop.
    """

    def __init__(
        self,
        pid: int,
        master: int,
        reap_orphans: bool,
        watching: Sequence[Watcher] = (),
        stop_signal: int = _signal.SIGTERM,
    ) -> None:
        self.pid = pid
        self.status: int | None = None
        self.ended = 0
        """the same as wait(2) tells it"""
        self._watching = watching
        self._stop_signal = stop_signal
        self._unwanted = False
        if reap_orphans:
            become_subreaper()
        self._caught = catch_signals()
        # last of all: whatever fails, our terminal is as it was
        self.relay = relayed(master) if master >= 0 else None

    def wait(self) -> int:
        """Wait for the container's end and return its exit status, 128 + n when signal n ended it."""
        try:
            while self.status is None:
                self._turn()
            # someone who signals us when there is no container any more does not want to see the rest
            while self.relay and not self._unwanted and self.relay.has_more():
                self._turn()
        finally:
            if self.relay:
                self.relay.restore()
        return self.status

    def _turn(self) -> None:
        watched = poll()
        watched.register(self._caught, POLLIN)
        if self.relay:
            self.relay.register(watched)
        timeouts = [watcher.register(watched) for watcher in self._watching]
        ready = [fd for fd, _ in watched.poll(min((ms for ms in timeouts if ms is not None), default=None))]
        # before we take notice of an end: of who has been collected nobody can tell where it was
        for watcher in self._watching:
            watcher.handle(ready)
        for fd in ready:
            if fd == self._caught:
                self._signals(posix.read(fd, 512))
            elif self.relay:
                self.relay.handle(fd)

    def _signals(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number == _signal.SIGCHLD:
                self._reap()
            elif number == _signal.SIGWINCH and self.relay:
                self.relay.resize()
            elif self.status is None:
                if number == _signal.SIGCONT and self.relay:
                    self.relay.resume()
                if number == _signal.SIGTERM:
                    number = self._stop_signal
                try:
                    posix.kill(self.pid, number)  # our child, not yet reaped: the pid is still its own
                except ProcessLookupError:
                    continue
            elif number in FATAL:
                self._unwanted = True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.ended = status
                ended_by = posix.WTERMSIG(status) if posix.WIFSIGNALED(status) else 0
                self.status = 128 + ended_by if ended_by else posix.WEXITSTATUS(status)


def relayed(master: int) -> Relay:
    """Return a relay between our terminal and that of the container."""
    from .relay import Relay  # 10 kB of code for terminals only

    return Relay(master)


def catch_signals() -> int:
    """Have every signal that can be caught end up in a pipe, as one byte each, and return its reading end.

    Those that came in while they were blocked, during the creation, come first.
    """
    reading, writing = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
    _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in range(1, LAST + 1):
        try:
            _signal.signal(number, _signal.SIG_IGN if number in IGNORED else lambda *_: None)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP, and two that are the C library's own
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    # a child that ended before the handler was there sent its signal to nobody
    posix.write(writing, bytes([_signal.SIGCHLD]))
    return reading


def become_subreaper() -> None:
    """Collect the orphans of a container that has no pid namespace, and so no init of its own that would."""
    from ..sitepath import enable

    enable()
    try:
        import prctl
    except ImportError:
        return  # then the host's init collects them
    prctl.set_child_subreaper(1)

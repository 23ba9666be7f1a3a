"""Running hooks: each is started by an init of ours, with the container's state on its standard input.

The init closes what the caller leaked, resets signals, tells when the program cannot be executed, and gives the hook a
session of its own, so that a hook that takes too long is killed with all it has started.
"""

from __future__ import annotations

import _signal
import posix
from select import POLLIN, poll
from time import monotonic

from .. import jsonio, log
from ..errors import Error, because
from ..plan import hooks as planning
from . import filters, probe, process, signals
from .entry import Entry, begun, enter
from .store import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.facts import Door
    from ..plan.ops import Op
    from ..spec.types import Config, Hook
    from .store import Known

OCI_VERSION = "1.3.0"
# what a hook that brings no environment gets of ours: nothing by which a caller could steer its interpreter or linker
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
PIPE = 65536  # bytes that a pipe holds (pipe(7))
LOOK = 0.25  # seconds between two looks at our own signals
LAST_WORDS = 2048  # bytes of standard error that are kept to say what went wrong
STDOUT, STDERR = "run.oci.hooks.stdout", "run.oci.hooks.stderr"
STATUS = {"startContainer": "created", "poststart": "running", "poststop": "stopped"}


def run(kind: str, config: Config, known: Known, root: str) -> None:
    """Run the hooks of one kind, in their order. Raises Error for the first that fails."""
    for index, hook in enumerate(planning.listed(config, kind)):
        try:
            Run(kind, config, known, root).perform(hook)
        except Error as error:
            message = f"hooks.{kind}[{index}] `{hook['path']}`: {error.message}"
            raise Error(message, status=error.status) from None


def run_last(config: Config, known: Known, root: str) -> None:
    """Run the poststop hooks. One that fails is warned about, and the others run (runtime-spec, "Lifecycle", 13)."""
    for index, hook in enumerate(planning.listed(config, "poststop")):
        try:
            Run("poststop", config, known, root).perform(hook)
        except Error as error:
            log.warning(f"hooks.poststop[{index}] `{hook['path']}`: {error.message}")


class Run:
    """One hook that runs."""

    def __init__(self, kind: str, config: Config, known: Known, root: str) -> None:
        self.kind = kind
        self.config = config
        self.known = known
        self.root = root
        self._last_words = b""

    def perform(self, hook: Hook) -> None:
        """Run it and wait for its end. Raises Error when it fails, or takes longer than its timeout."""
        # one that ended us would leave what the hook has started: it is looked for while we wait
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        deadline = monotonic() + hook["timeout"] if "timeout" in hook else None
        reading, writing = posix.pipe2(posix.O_CLOEXEC)
        opened: list[int] = []
        try:
            stdio = (self._state(opened), self._output(STDOUT, opened), self._output(STDERR, opened, writing))
            entry = self._enter(hook, stdio)
        finally:
            posix.close(writing)
            for fd in opened:
                posix.close(fd)
        try:
            pid = entry.init.pid
            entry.go(Container(self.root, self.known.id))
            ended = self._watch(pid, reading, deadline)
        except BaseException:
            kill_session(entry.init.pid)
            entry.init.abandon()
            raise
        finally:
            posix.close(reading)
        entry.init.channel.close()
        # looked at and not yet reaped: as long as it is there its number is no other session's
        if not ended or not ended_well(pid):
            kill_session(pid)
        _, status = posix.waitpid(pid, 0)
        if not ended:
            raise Error(f"killed after {hook['timeout']} s")
        self._judge(status)

    def _enter(self, hook: Hook, stdio: tuple[int, int, int]) -> Entry:
        """Return the hook when it is where it is to run. Raises Error."""
        known = self.known
        if self.kind not in (planning.INSIDE, planning.AT_START):
            return begun(Entry(planning.outside(hook, environment(), self._place()), stdio=stdio))
        return enter(known, "", lambda way: self._inside(hook, stdio, way))

    def _inside(self, hook: Hook, stdio: tuple[int, int, int], way: Door) -> Entry:
        """Start the init of a hook that runs in the container's namespaces. Raises Error."""
        known = self.known
        steps: list[Op]
        if self.kind == planning.AT_START:
            steps = planning.inside(
                hook, self.config, probe.facts(self.config), way, *filters.program(self.config, self.root)
            )
        else:
            steps = planning.before_pivot(hook, environment(), self._place(), way)
        target = process.open_pidfd(known.pid, known.start_time)
        if target < 0:
            raise Error("the container's init died")
        try:
            return Entry(steps, target, stdio=stdio)
        finally:
            posix.close(target)

    def _place(self) -> str:
        """Return the working directory of a hook outside: the bundle, as with other runtimes, if it is still there."""
        bundle = self.known.bundle
        return bundle if posix.access(bundle, posix.X_OK) else "/"

    def _state(self, opened: list[int]) -> int:
        """Return a file with the container's state. Not a pipe: a hook that does not read it must not hold us."""
        known = self.known
        state = {
            "ociVersion": OCI_VERSION,
            "id": known.id,
            "status": STATUS.get(self.kind, "creating"),
            "pid": 0 if self.kind == "poststop" else known.pid,
            "bundle": known.bundle,
            "root": known.rootfs,
            "annotations": known.annotations,
        }
        fd = posix.memfd_create("state", posix.MFD_CLOEXEC)
        opened.append(fd)
        posix.write(fd, jsonio.dumps(state).encode("utf-8", "surrogateescape"))
        posix.lseek(fd, 0, 0)
        return fd

    def _output(self, annotation: str, opened: list[int], otherwise: int = -1) -> int:
        """Return where the hook writes to: the file that an annotation names, `otherwise`, or nowhere."""
        path = self.known.annotations.get(annotation)
        if not path and otherwise >= 0:
            return otherwise
        flags = posix.O_WRONLY | posix.O_CLOEXEC | (posix.O_APPEND | posix.O_CREAT if path else 0)
        try:
            opened.append(posix.open(path or "/dev/null", flags | posix.O_NONBLOCK, 0o700))  # a FIFO nobody reads
            posix.set_blocking(opened[-1], True)
        except OSError as error:
            raise because(f"`{path}`", error) from None
        return opened[-1]

    def _watch(self, pid: int, stderr: int, deadline: float | None) -> bool:
        """Read what it complains of until it ends; false when the deadline passes first."""
        end = posix.pidfd_open(pid)
        watched = poll()
        watched.register(end, POLLIN)
        watched.register(stderr, POLLIN)
        try:
            while True:
                # our own signals wait meanwhile: a hook that hangs must not make us deaf
                signals.interrupted()
                left = LOOK if deadline is None else min(LOOK, max(0, deadline - monotonic()))
                ready = [fd for fd, _ in watched.poll(left * 1000)]
                if stderr in ready:
                    words = posix.read(stderr, PIPE)
                    self._last_words = (self._last_words + words)[-LAST_WORDS:]
                    if not words:
                        watched.unregister(stderr)
                # what it wrote before its end fits into one read; one that it leaves behind may write for ever
                if end in ready:
                    return True
                if deadline is not None and monotonic() >= deadline:
                    return False
        finally:
            posix.close(end)

    def _judge(self, status: int) -> None:
        """Raise Error unless it ended well."""
        if not status:
            return
        lines = self._last_words.decode("utf-8", "replace").split("\n")
        words = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
        if posix.WIFSIGNALED(status):
            raise Error(f"killed by signal {posix.WTERMSIG(status)}{words}")
        raise Error(f"exit status {posix.WEXITSTATUS(status)}{words}")


def ended_well(pid: int) -> bool:
    """Has a child that is at its end exited with 0."""
    result = posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOWAIT)
    return bool(result and result.si_code == posix.CLD_EXITED and result.si_status == 0)


def kill_session(leader: int) -> None:
    """Kill a hook and all that it has started, but for what has left its process group."""
    try:
        if leader:
            posix.killpg(leader, _signal.SIGKILL)
    except ProcessLookupError:
        return


def environment() -> list[str]:
    """Return what a hook without an environment of its own gets."""
    ours = {name: posix.environ.get(name.encode()) for name in KEPT}
    return [f"{name}={value.decode('utf-8', 'surrogateescape')}" for name, value in ours.items() if value]

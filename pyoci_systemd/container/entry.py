"""A process on its way into a container that is there."""

from __future__ import annotations

import posix
from errno import EACCES

from ..cgroup import tree
from ..errors import Error
from ..init.dialogue import GATE, PID, Init, Reply
from ..init.wire import encode
from ..plan.facts import Door
from ..plan.ops import Clone
from ..plan.words import CLONE, SCOPE_GATE, STATE_GATE
from .explain import explain
from .laststeps import await_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..plan.ops import Op
    from .store import Container, Known

FILES = {"network": "net", "mount": "mnt"}


def door(pid: int, cgroup: str) -> Door:
    """Return how to enter the namespaces of `pid` and the cgroup `cgroup`. Raises Error."""
    namespaces = 0
    for kind, flag in CLONE.items():
        name = FILES.get(kind, kind)
        try:
            # a namespace that we are in already cannot be entered, and the own user namespace never (setns(2))
            if posix.readlink(f"/proc/{pid}/ns/{name}") != posix.readlink(f"/proc/self/ns/{name}"):
                namespaces |= flag
        except FileNotFoundError:
            if not _has(name):
                continue
            raise Error(f"process {pid} has gone") from None
        except PermissionError:
            # nobody looks into an init but who is root where it began
            text = f"the namespaces of process {pid}: Permission denied"
            raise Error(text, hint="a user without privileges can enter a container that has been started") from None
    return Door(namespaces, cgroup, unprivileged=posix.geteuid() != 0)


def _has(name: str) -> bool:
    """Does this kernel know this kind of namespace."""
    try:
        posix.readlink(f"/proc/self/ns/{name}")
    except FileNotFoundError:
        return False
    return True


class OutOfReach(Error):
    """The cgroup is one that we may not move a process of ours to, for it belongs to another part of the tree."""


class Entry:
    """The dialogue with the init of one such process."""

    def __init__(
        self,
        ops: list[Op],
        pidfd: int = -1,
        preserve_fds: int = 0,
        stdio: tuple[int, int, int] = (0, 1, 2),
        given: Sequence[int] = (),
    ) -> None:
        self._ops = ops
        self.init = Init.spawn(encode(ops), preserve_fds, [*([pidfd] if pidfd >= 0 else []), *given], stdio)

    def arrive(self) -> int:
        """Wait until the process is in the container and return its pid. Raises Error."""
        self.init.pid = self.expect(PID).value
        self.init.reap_first()
        return self.init.pid

    def expect(self, kind: int, value: int | None = None) -> Reply:
        """Return the init's next message, which must be this. Raises Error."""
        return self.init.expect(kind, self.explain, value)

    def ready(self) -> None:
        """Wait until nothing is left to do but what must come last. Raises Error."""
        self.expect(GATE, STATE_GATE)

    def go(self, container: Container) -> None:
        """Let it run its program, and wait until it does. Raises Error."""
        self.init.let_through()
        await_program(container, self.init, self.init.pid, self.explain)

    def explain(self, reply: Reply) -> Error:
        """Return the error for an op that failed."""
        op = self._ops[reply.index]
        error = explain(reply, self._ops)
        return OutOfReach(error.message) if isinstance(op, Clone) and reply.error == EACCES else error


def begun(entry: Entry) -> Entry:
    """Return an entry when it has arrived. One that does not is abandoned. Raises Error."""
    try:
        entry.arrive()
        return entry
    except BaseException:
        entry.init.abandon()
        raise


def enter(known: Known, below: str, begin: Callable[[Door], Entry]) -> Entry:
    """Return an entry that has arrived: in the cgroup `below` the container's own, else where its first process is.

    `begin` starts one. From a login session, say, a user may not go to a cgroup of her own, for what is above both is
    not hers: then her systemd moves it, as long as it is a process of hers, and what it clones is born there. Raises
    Error.
    """
    cgroup = cgroup_of(known.pid, known.cgroup, below)
    try:
        return begun(begin(door(known.pid, cgroup)))
    except OutOfReach:
        if not known.unit:
            raise
    way = door(known.pid, "")
    way.waits = True
    entry = begin(way)
    try:
        from . import scope  # for users alone

        entry.expect(GATE, SCOPE_GATE)
        scope.attach(known.unit, cgroup, entry.init.first)
        entry.init.let_through()
    except BaseException:
        entry.init.abandon()
        raise
    return begun(entry)


def cgroup_of(pid: int, own: str, below: str) -> str:
    """Return the cgroup for a process that joins `pid`: where that one is now, or `below` the container's own.

    The first process may have moved into one below (a systemd does): the container's own then has controllers
    enabled and takes no process (cgroups(7), "no internal processes"). Raises Error.
    """
    if not own:
        if below:
            raise Error("--cgroup: the container has no cgroup of its own")
        return ""
    if not below:
        return tree.of_process(pid)
    if ".." in below.split("/"):
        raise Error(f"--cgroup: `{below}` leaves the container's cgroup")
    path = f"{own}/{below.strip('/')}".rstrip("/")
    try:
        posix.stat(f"{path}/cgroup.procs")
    except OSError:
        raise Error(f"--cgroup: the container has no cgroup `{below}`") from None
    return path

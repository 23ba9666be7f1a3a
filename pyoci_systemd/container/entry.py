"""A process on its way into a container that is there."""

from __future__ import annotations

import posix
from errno import EACCES, EBUSY

from ..cgroup import tree
from ..errors import Error, because
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
SPARE = "pyoci-exec"
TRIES = 20  # as many as other runtimes


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


class Crowded(Error):
    """The cgroup takes no process: it has others below, to which it hands controllers down."""


class OutOfReach(Error):
    """The cgroup is one that we may not move a process of ours to, for it belongs to another part of the tree."""


WAYS = {EBUSY: Crowded, EACCES: OutOfReach}


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
        error = explain(reply, self._ops)
        if isinstance(self._ops[reply.index], Clone) and reply.error in WAYS:
            return WAYS[reply.error](error.message)
        return error


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

    `begin` starts one. The cgroup may be divided while it is on its way. And from a login session, say, a user may not
    go to a cgroup of her own, for what is above both is not hers. Raises Error.
    """
    cgroup = cgroup_of(known.pid, known.cgroup, below)
    way = door(known.pid, cgroup)
    for _ in range(TRIES):
        try:
            return begun(moved(begin(way), unit_of(known), cgroup) if way.waits else begin(way))
        except OutOfReach:
            if not unit_of(known):
                raise
            way = Door(way.namespaces, "", way.unprivileged, waits=True)
        except Crowded:
            if below:
                hint = "name one of those below it"
                raise Error(f"--cgroup: `{below}` hands controllers down and takes no process", hint=hint) from None
            now = cgroup_of(known.pid, known.cgroup, "")
            cgroup = now if now != cgroup else spare(known.cgroup)
            way = door(known.pid, cgroup)
    raise Error(f"cannot enter the cgroup `{known.cgroup}`: its first process divides it faster than we follow")


def unit_of(known: Known) -> str:
    """Return the unit that the container's cgroup is in, "" for none: its scope, or the service that it is part of."""
    above = known.cgroup.split("/")
    return known.unit or next((name for name in reversed(above) if name.endswith((".service", ".scope"))), "")


def moved(entry: Entry, unit: str, cgroup: str) -> Entry:
    """Have systemd move what waits, as long as it is a process of ours: what it clones is born there. Raises Error."""
    from . import scope  # for users alone

    try:
        entry.expect(GATE, SCOPE_GATE)
        scope.attach(unit, cgroup, entry.init.first)
        entry.init.let_through()
        return entry
    except BaseException:
        entry.init.abandon()
        raise


def cgroup_of(pid: int, own: str, below: str) -> str:
    """Return the cgroup for a process that joins `pid`: where that one is now, or `below` the container's own.

    The first process may have moved into one below (a systemd does): the container's own then has controllers
    enabled and takes no process (cgroups(7), "no internal processes"). It may not take others along to where the
    container's limits do not reach. Raises Error.
    """
    if not own:
        if below:
            raise Error("--cgroup: the container has no cgroup of its own")
        return ""
    if not below:
        now = tree.of_process(pid)
        return now if f"{now}/".startswith(f"{own}/") else own
    if ".." in below.split("/"):
        raise Error(f"--cgroup: `{below}` leaves the container's cgroup")
    path = f"{own}/{below.strip('/')}".rstrip("/")
    try:
        posix.stat(f"{path}/cgroup.procs")
    except OSError:
        raise Error(f"--cgroup: the container has no cgroup `{below}`") from None
    return path


def spare(own: str) -> str:
    """Return a cgroup below the container's own, of the same owner, for whoever finds no other. Raises Error."""
    path = f"{own}/{SPARE}"
    try:
        tree.make(path)
        owner = posix.stat(own)
        if owner.st_uid or owner.st_gid:
            tree.delegate(path, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise because(f"cannot make the cgroup `{path}`", error) from None
    return path

"""`pyoci mounts`: mounts that a container gets, or loses, while it runs."""

from __future__ import annotations

import _signal
from errno import EINVAL

from .. import jsonio, log
from ..errors import Error
from ..init.dialogue import GATE
from ..plan import livemounts, ops
from ..plan.words import MOUNT_GATE
from ..spec.kept import kept
from ..spec.load import load_mounts
from ..spec.rules import check_mounts
from . import errand, identity, idmaps, probe, process
from .caller import document
from .entry import Entry, door
from .explain import explain
from .store import CONFIG, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..init.dialogue import Reply
    from ..plan.facts import Door
    from ..plan.livemounts import Step
    from ..settings import Options, Settings
    from ..spec.types import Config


def main(settings: Settings, options: Options) -> int:
    """Add mounts to a container, or remove them. Returns the exit status; raises Error."""
    # a caller that ignores it would have the kernel reap our children before we do
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    container = Container(settings.root, identity.check(options.id))
    if container.status() not in ("created", "running", "paused"):
        raise not_running(options)
    mounts = load_mounts(*document(options.file))
    name = "standard input" if options.file == "-" else options.file
    known = container.known
    config = kept(jsonio.contents(f"{container.path}/{CONFIG}"), CONFIG)
    target = process.open_pidfd(known.pid, known.start_time)
    if target < 0:
        raise not_running(options)
    # no cgroup: a paused container's would freeze us, and a full one has no room
    way = door(known.pid, "")
    # a signal waits until all is done, or nothing
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    if options.action == "remove":
        Work(livemounts.remove(mounts, way, name)).remove(target)
        return 0
    check_mounts(mounts, config.get("linux", {}), name)
    asked: Config = {**config, "mounts": mounts}
    made = livemounts.add(mounts, config, probe.facts(asked, known.bundle), way, known.bundle, name)
    Work(made.steps).add(target, way, idmaps.namespaces(made.mappings))
    return 0


def not_running(options: Options) -> Error:
    return Error(f"cannot {options.action} mounts in `{options.id}`: container not running")


class Work:
    """The steps of one call."""

    def __init__(self, steps: list[Step]) -> None:
        self.ops = [op for _, op in steps]
        self.whose = [index for index, _ in steps]
        if log.wants("debug"):
            for op in self.ops:
                log.debug(op.describe())

    def remove(self, target: int) -> None:
        """Remove the mounts. Raises Error for the first that cannot be."""
        errand.perform(self.ops, [target], self.explain)

    def add(self, target: int, way: Door, namespaces: list[int]) -> None:
        """Add the mounts, all or none. Raises Error."""
        trees: list[int] = []
        entry = Adding(self, target, namespaces)
        try:
            entry.arrive()
            for op in self.ops:
                if isinstance(op, ops.Offer):
                    trees.append(entry.expect(GATE, MOUNT_GATE).fd)
                    entry.init.let_through()
            entry.ready()
        except BaseException:
            entry.init.abandon()
            for tree in reversed(trees):
                take_away(target, way, tree)
            raise
        entry.init.abandon()

    def explain(self, reply: Reply) -> Error:
        """Return the error for an op that failed: which mount it was for, and why."""
        index, op = self.whose[reply.index], self.ops[reply.index]
        error = explain(reply, self.ops)
        if isinstance(op, ops.Unmount) and reply.error == EINVAL:
            # umount2(2); the kernel says no more
            hint = "one that came with another user namespace cannot be removed either"
            error = Error(f"`{op.target}` is not a mount point", hint=hint)
        return error if index == livemounts.OF_ALL else Error(f"mounts[{index}]: {error.message}", hint=error.hint)


class Adding(Entry):
    """The dialogue with the init that adds mounts."""

    def __init__(self, work: Work, target: int, namespaces: list[int]) -> None:
        super().__init__(work.ops, target, given=namespaces)
        self._work = work

    def explain(self, reply: Reply) -> Error:
        return self._work.explain(reply)


def take_away(target: int, way: Door, tree: int) -> None:
    """Detach a mount that was just added; it may not have been attached yet, or be gone with the container."""
    try:
        errand.perform([*livemounts.reach(way), ops.Unmount("", 1)], [target, tree])
    except Error as error:
        log.debug(f"while undoing: {error}")

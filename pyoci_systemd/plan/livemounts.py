"""Mounts of a container that is there: added to it, and removed."""

from __future__ import annotations

from ..errors import Error, SpecError
from ..record import Record
from . import idmaps, labels, namespaces, ops
from .handles import Handles, Mapping
from .mounts import Mounting
from .rootfs import root_propagation
from .words import CLONE, MOUNT_GATE, STATE_GATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Mount
    from .facts import Door, Facts

    Step = tuple[int, ops.Op]

OF_ALL = -1  # instead of the index of a mount
PIDFD = 1  # what is sent with the ops besides the mappings


class Addition(Record):
    """What adds mounts."""

    steps: list[Step]
    """the index of the mount that an op is for, and the op"""
    mappings: list[Mapping]


def add(mounts: list[Mount], config: Config, facts: Facts, door: Door, bundle: str, name: str) -> Addition:
    """Return what adds `mounts`, which the document `name` lists, to the container of `config`.

    The order is the security argument:
    sources are opened before anything is entered, for they are the runtime's own;
    a new filesystem is made inside, for it may belong to the namespaces there (a `proc` shows who is in one);
    the runtime has hold of every mount before the first is attached, so that all can be taken away again;
    they are attached in the listed order, as by a create. Raises Error.
    """
    _require_namespace(door)
    whole: Config = {**config, "mounts": mounts}
    handles = Handles(PIDFD, idmaps.wanted(whole, name))
    mounting = Mounting(whole, facts, bundle, root_propagation(config), handles, name)
    opening: list[Step] = []
    listed: list[ops.Op] = []
    for index, mount in enumerate(mounts):
        known = len(handles.sources)
        listed.append(_addable(mounting.plan(mount, index), f"{name}: mounts[{index}].options"))
        opening += [(index, op) for op in handles.sources[known:]]
    making: list[Step] = []
    attaching: list[Step] = []
    for index, op in enumerate(labels.label_mounts(listed, config, facts)):
        if isinstance(op, ops.Mount):
            making.append((index, ops.Filesystem(op.type, op.source, op.target, op.data)))
            op = _bind(op, handles.take())
        assert isinstance(op, ops.Bind)
        making += [(index, ops.Offer(op.target, op.tree)), (index, ops.Await(MOUNT_GATE))]
        attaching.append((index, op))
    entering: list[Step] = [(OF_ALL, op) for op in namespaces.enter(door)]
    return Addition([*opening, *entering, *making, *attaching, (OF_ALL, ops.Await(STATE_GATE))], handles.mappings)


def _addable(op: ops.Op, where: str) -> ops.Op:
    """Refuse what makes no mount, for there would be nothing to remove. Raises SpecError."""
    if isinstance(op, ops.Remount):
        raise SpecError(f"{where}: `remount` adds no mount")
    if isinstance(op, ops.Symlink):
        raise SpecError(f"{where}: `copy-symlink` makes `{op.path}` a link, and no mount")
    return op


def _bind(op: ops.Mount, tree: int) -> ops.Bind:
    """Return what attaches the filesystem `tree` as `op` would."""
    numbers = op.set, op.clear, op.recursive_set, op.recursive_clear, op.propagation
    return ops.Bind(op.source, op.target, 0, tree, op.resolve, *numbers)


def remove(mounts: list[Mount], door: Door, name: str) -> list[Step]:
    """Return what removes the mounts at the destinations of `mounts`, the last first: it may stand in an earlier one.

    The first process does that itself: inside there is nobody to be seen, stopped or killed. Raises Error.
    """
    _require_namespace(door)
    steps: list[Step] = [(OF_ALL, op) for op in reach(door)]
    for number, (index, mount) in enumerate(reversed([*enumerate(mounts)])):
        target = "/" + mount["destination"].strip("/")
        if target.rpartition("/")[2] in ("", ".", ".."):
            # the last name is one in a directory, so what it names is never the root, whatever is a link on the way
            raise SpecError(f"{name}: mounts[{index}].destination: `{mount['destination']}` does not end in a name")
        steps += [(index, ops.FindMount(target)), (index, ops.Unmount(target, PIDFD + number))]
    return steps


def reach(door: Door) -> list[ops.Op]:
    """Return what leads to the mounts of a container. The host's procfs names them, once they are open."""
    return [ops.HostProc(), ops.Enter(door.namespaces & (CLONE["user"] | CLONE["mount"]))]


def _require_namespace(door: Door) -> None:
    if not door.namespaces & CLONE["mount"]:
        raise Error("the container has no mount namespace of its own: its mounts are the host's")

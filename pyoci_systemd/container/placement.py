"""The cgroups in which the container lives, made as its plan says: limited, and entered."""

from __future__ import annotations

import posix

from ..cgroup import tree
from ..cgroup.events import event
from ..errors import Error, because

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..plan.plan import Plan


def below(path: str, name: str) -> str:
    """Return the cgroup `name` below `path`; with "" that is `path` itself."""
    return f"{path}/{name}" if name else path


def own(made: Plan) -> str:
    """Return the cgroup that we make ourselves, "" where systemd does it or nobody. Raises Error."""
    if made.manager == "split":
        from ..cgroup import split  # in services alone

        return split.container()
    return f"{tree.ROOT}/{made.placement.path}" if made.manager == "cgroupfs" else ""


def in_scope(scope: str, cgroup: str, made: Plan, pid: int) -> None:
    """Move the process from its scope's cgroup to where it is to live. Raises Error.

    `cgroup` has the limits. Only when nobody is left above it are controllers handed down, and are there files of them.
    """
    inner = below(cgroup, made.placement.delegated)
    try:
        tree.make(inner)
        refuse_frozen(inner)
        if inner != scope:
            tree.enter(inner, pid)
        tree.hand_down(scope, inner)
    except OSError as error:
        raise because(f"cannot make the cgroup `{inner}`", error) from None
    # where the container sees them, and where systemd never writes
    tree.apply(cgroup, made.limits)
    tree.apply(scope, [limit for limit in made.limits if limit.above])
    give_away(inner, made, pid)


def make(cgroup: str, made: Plan) -> None:
    """Make the container's cgroup, where it is not for systemd, and hand controllers down to it. Raises Error."""
    inner = below(cgroup, made.placement.delegated)
    try:
        if made.manager == "split":
            from ..cgroup import split  # in services alone

            split.make(cgroup)
            # what is above is systemd's, and its neighbours'
            tree.make(inner)
            tree.hand_down(cgroup.rpartition("/")[0], inner)
        else:
            tree.make_delegated(inner)
    except OSError as error:
        raise because(f"cannot make the cgroup `{inner}`", error) from None


def in_cgroupfs(cgroup: str, made: Plan, pid: int, restrict_devices: Callable[[str], None]) -> None:
    """Limit the container's cgroup, which make() has made, and move the process there. Raises Error."""
    inner = below(cgroup, made.placement.delegated)
    tree.apply(cgroup, made.limits)
    restrict_devices(cgroup)
    give_away(inner, made, pid)
    tree.enter(inner, pid)


def refuse_frozen(cgroup: str) -> None:
    """Refuse a cgroup in which the process would stop for ever, such as one in a frozen slice. Raises Error."""
    if event(cgroup, "frozen"):
        culprit = tree.frozen(cgroup)
        raise Error(f"cgroup `{culprit or cgroup}` is frozen", hint="thaw it first: `systemctl thaw`")


def give_away(cgroup: str, made: Plan, pid: int) -> None:
    """Give the cgroup to the root of the container's user namespace, if it has one. Raises Error.

    A user without privileges gives nothing away.
    """
    if not made.user_namespace or posix.geteuid():
        return
    from . import idmaps  # for user namespaces only

    owner = idmaps.root_of(pid)
    if owner:
        try:
            tree.delegate(cgroup, *owner)
        except OSError as error:
            raise because(f"cannot give the cgroup `{cgroup}` to user {owner[0]}", error) from None

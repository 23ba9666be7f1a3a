"""User namespaces and their maps: those that do nothing but map the ids of mounts (mount_setattr(2)), too."""

from __future__ import annotations

import posix

from .. import kernelfs
from ..errors import Error, because, failure
from ..init.dialogue import GATE, Init, Reply
from ..init.wire import encode
from ..plan.ops import Dumpable, NewUserNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.handles import Mapping


def namespaces(mappings: list[Mapping]) -> list[int]:
    """Return a descriptor of a user namespace for each mapping. Raises Error."""
    return [_existing(mapping.path) if mapping.path else _new(mapping) for mapping in mappings]


def _existing(path: str) -> int:
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        raise because(f"user namespace `{path}`", error) from None


def _new(mapping: Mapping) -> int:
    """Make a namespace by an init that gets no further: the namespace lives on in the descriptor. Raises Error."""
    op = NewUserNamespace()
    shown = [] if posix.geteuid() == 0 else [Dumpable(1)]

    def explain(reply: Reply) -> Error:
        return Error(failure(op.complaint(), posix.strerror(reply.error)))

    holder = Init.spawn(encode([*shown, op]), 0)
    try:
        holder.expect(GATE, explain)
        write(holder.first, mapping.uid_map, mapping.gid_map)
        return _existing(f"/proc/{holder.first}/ns/user")
    finally:
        holder.abandon()


def become_others(uid_map: str) -> bool:
    """Is who waits for this map a user's own process now, and none when it is root in there.

    systemd takes a process out of a login session for the user whom it belongs to. So that one goes first, and what it
    clones is born in the scope.
    """
    return posix.geteuid() != 0 and not uid_map.startswith(f"0 {posix.geteuid()} ")


def write(pid: int, uid_map: str, gid_map: str) -> None:
    """Write the id maps of the new user namespace in which `pid` waits (user_namespaces(7)). Raises Error.

    A user without privileges may map nothing but the own id and group, and that only when the group can be exchanged
    for no other any more (CVE-2014-8989); all else is for the helpers, who know whose ids they are (CVE-2018-7169).
    """
    own = {"uid": posix.geteuid(), "gid": posix.getegid()}
    for kind, text in (("uid", uid_map), ("gid", gid_map)):
        if own["uid"] and text.split()[1:] != [str(own[kind]), "1"]:
            from . import subids

            subids.write(pid, kind, text)
            continue
        if own["uid"] and kind == "gid":
            _write(pid, "setgroups", "deny")
        _write(pid, f"{kind}_map", text)


def _write(pid: int, name: str, text: str) -> None:
    try:
        kernelfs.write(f"/proc/{pid}/{name}", text)
    except OSError as error:
        shown = text.replace("\n", "; ")
        raise because(f"cannot write `{shown[:200]}{'…' if shown[200:] else ''}` to {name}", error) from None


def root_of(pid: int) -> tuple[int, int] | None:
    """Return who root of a process's user namespace is here, user and group; None where it is nobody. Raises Error."""
    try:
        owners = [_root(kernelfs.whole(f"/proc/{pid}/{name}")) for name in ("uid_map", "gid_map")]
    except OSError as error:
        raise because(f"cannot read the id maps of process {pid}", error) from None
    return (owners[0], owners[1]) if min(owners) >= 0 else None


def _root(text: str) -> int:
    """Return what 0 is mapped to, -1 for nothing."""
    ranges = [[int(number) for number in line.split()] for line in text.splitlines()]
    return next((outside for inside, outside, _ in ranges if inside == 0), -1)

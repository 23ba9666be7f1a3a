"""The user namespace of a container that a user without privileges runs and that asks for none, as crun has it.

The own id is the one that the process has; the ids that /etc/subuid and /etc/subgid give the user are
the others, from 0 on.
"""

from __future__ import annotations

from ..record import Record
from . import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Mapping

    Ranges = list[tuple[int, int]]  # first id, how many


class Ids(Record):
    """What a user may map."""

    uid: int
    gid: int
    subuids: Ranges
    subgids: Ranges


def is_needed(config: Config) -> bool:
    """Is there no user namespace, or one without maps."""
    linux = config.get("linux", {})
    mapped = linux.get("uidMappings") or linux.get("gidMappings")
    return namespaces.wanted(config).get("user", "") == "" and not mapped


def with_user_namespace(config: Config, ids: Ids) -> Config:
    """Return the config with a user namespace of the user's ids."""
    linux = config.get("linux", {})
    user = config.get("process", {}).get("user", {})
    others = [entry for entry in linux.get("namespaces") or () if entry["type"] != "user"]
    # without ids of both kinds one map would have what the other lacks: files of a user without a group
    both = bool(ids.subuids and ids.subgids)
    return {
        **config,
        "linux": {
            **linux,
            "namespaces": [{"type": "user"}, *others],
            "uidMappings": mapping(user.get("uid", 0), ids.uid, ids.subuids if both else []),
            "gidMappings": mapping(user.get("gid", 0), ids.gid, ids.subgids if both else []),
        },
    }


def mapping(inside: int, own: int, ranges: Ranges) -> list[Mapping]:
    """Return a map in which `own` is `inside`, and the ids of `ranges` are the others: as many as there are."""
    result: list[Mapping] = []
    place = 0
    for first, count in ranges:
        while count:
            if place == inside:
                place += 1
            size = min(count, inside - place) if place < inside else count
            result.append({"containerID": place, "hostID": first, "size": size})
            place, first, count = place + size, first + size, count - size
    return sorted([*result, {"containerID": inside, "hostID": own, "size": 1}], key=lambda entry: entry["containerID"])

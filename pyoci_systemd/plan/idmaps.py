"""Mounts that show other owners than their filesystem has: `idmap`, `ridmap`, uidMappings and gidMappings.

Whose mapping it is (config.md, "mounts"): the mount's own, else that of the option's text, else the container's user
namespace. The text is crun's: `uids=0-1000-10#10-@0-5;gids=…`, each range being first id in the filesystem, first id
on the host and how many; after an `@` the second one is an id in the container.
"""

from __future__ import annotations

from ..errors import SpecError
from . import namespaces
from .handles import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..spec.types import Config, Mount
    from ..spec.types import Mapping as Entry

OPTIONS = ("idmap", "ridmap")
MOST = 1 << 32
CONFIG = "config.json"


def asked(mount: Mount) -> str | None:
    """Return the option that asks for other ids, "idmap" where only mappings do, None where nothing does."""
    options = [word for word in mount.get("options") or () if word.partition("=")[0] in OPTIONS]
    return options[-1] if options else "idmap" if mount.get("uidMappings") else None


def mapping(mount: Mount, index: int, config: Config, name: str = CONFIG) -> Mapping:
    """Return the mapping of a mount of the document `name` that asks for one. Raises SpecError."""
    where = f"{name}: mounts[{index}].options"
    if mount.get("uidMappings"):
        where = f"{name}: mounts[{index}]"
        return Mapping(
            namespaces.lines(mount["uidMappings"], f"{where}.uidMappings"),
            namespaces.lines(mount.get("gidMappings") or (), f"{where}.gidMappings"),
        )
    option = asked(mount) or ""
    text = option.partition("=")[2]
    own = {f"{kind}s": namespaces.mappings(config, kind) for kind in ("uid", "gid")}
    if text:
        found = {}
        for part in text.split(";"):
            kind, _, ranges = part.partition("=")
            if kind not in own:
                raise SpecError(f"{where}: `{option}`: `{kind}` is neither uids nor gids")
            made = "".join(_line(one, own[kind], f"{where}: `{option}`") for one in ranges.split("#"))
            found[kind] = "".join(namespaces.few(made.splitlines(keepends=True), where))
        if len(found) < len(own):
            raise SpecError(f"{where}: `{option}` must say both uids and gids")
        return Mapping(found["uids"], found["gids"])
    path = namespaces.wanted(config).get("user")
    if path:
        return Mapping("", "", path)
    if path is None or not all(own.values()):
        raise SpecError(f"{where}: `{option}` needs mappings, of the mount or of a `user` namespace")
    return Mapping(*namespaces.id_maps(config))


def _line(text: str, own: Iterable[Entry], where: str) -> str:
    """Return one range as the kernel reads it; as several, where the container's ids lie apart on the host."""
    numbers = text.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and len(n) <= 10 for n in numbers):
        raise SpecError(f"{where}: `{text}` is not FIRST-FIRST-COUNT")
    inside, outside, size = map(int, numbers)
    if size < 1 or inside + size > MOST or outside + size > MOST:
        raise SpecError(f"{where}: `{text}` is no range of ids")
    if text[0] != "@":
        return f"{inside} {outside} {size}\n"
    result = ""
    while size:
        at = next((e for e in own if 0 <= outside - e["containerID"] < e["size"]), None)
        if at is None:
            raise SpecError(f"{where}: `{text}`: the container has no id {outside}")
        offset = outside - at["containerID"]
        count = min(size, at["size"] - offset)
        result += f"{inside} {at['hostID'] + offset} {count}\n"
        inside, outside, size = inside + count, outside + count, size - count
    return result


def wanted(config: Config, name: str = CONFIG) -> list[Mapping]:
    """Return the different mappings of a config's mounts. Raises SpecError."""
    found: list[Mapping] = []
    for index, mount in enumerate(config.get("mounts") or ()):
        if asked(mount) is not None:
            made = mapping(mount, index, config, name)
            if made not in found:
                found.append(made)
    return found


def spoken(mapping: Mapping) -> str:
    """Return a mapping as one would say it: `0-9 → 1000-1009`."""
    if mapping.path:
        return f"those of `{mapping.path}`"

    def say(text: str) -> str:
        ranges = [[int(number) for number in line.split()] for line in text.splitlines()]
        return ", ".join(f"{a} → {b} ({count})" for a, b, count in ranges)

    users, groups = say(mapping.uid_map), say(mapping.gid_map)
    return users if users == groups else f"users {users}; groups {groups}"

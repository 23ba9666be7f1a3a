"""linux.namespaces, id mappings and clocks, or a container that is there: what the first process does."""

from __future__ import annotations

from ..errors import SpecError
from . import ops
from .words import CLONE, SCOPE_GATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..spec.types import Config, Mapping, Process
    from .facts import Door, Facts
    from .handles import Handles

# What clone(2) makes at once. The cgroup namespace waits for the scope, the user namespace for its mapping.
MOST_LINES = 340
AT_CLONE = ("mount", "pid", "network", "ipc", "uts")


def wanted(config: Config) -> dict[str, str]:
    """Return the namespaces of the config: type → path to join, or "" for a new one."""
    return {entry["type"]: entry.get("path", "") for entry in config.get("linux", {}).get("namespaces", ())}


def joined(config: Config) -> int:
    """Return how many namespaces are opened by their paths."""
    return sum(1 for path in wanted(config).values() if path)


def is_new(config: Config, kind: str) -> bool:
    """Is a new namespace of this kind asked for."""
    return wanted(config).get(kind) == ""


def lines(entries: Iterable[Mapping], where: str) -> str:
    """Return mappings as the kernel reads them (user_namespaces(7)). Raises SpecError for more than it takes."""
    found = [f"{entry['containerID']} {entry['hostID']} {entry['size']}\n" for entry in entries]
    return "".join(few(found, where))


def few(mapped: list[str], where: str) -> list[str]:
    """Return the lines of a map. Raises SpecError for more than the kernel takes (CVE-2021-43784)."""
    if len(mapped) > MOST_LINES:
        raise SpecError(f"{where}: {len(mapped)} ranges, and the kernel takes {MOST_LINES}")
    return mapped


def mappings(config: Config, kind: str) -> list[Mapping]:
    """Return the ids of the container's user namespace, of `kind` uid or gid."""
    return config.get("linux", {}).get(f"{kind}Mappings") or []  # type: ignore[return-value]


def maps(config: Config, kind: str, number: int) -> bool:
    """Does the container's user namespace have this id."""
    return any(0 <= number - entry["containerID"] < entry["size"] for entry in mappings(config, kind))


def id_maps(config: Config) -> tuple[str, str]:
    """Return what is written to uid_map and gid_map, empty when nothing is asked. Raises SpecError."""
    return (
        lines(mappings(config, "uid"), "config.json: linux.uidMappings"),
        lines(mappings(config, "gid"), "config.json: linux.gidMappings"),
    )


def first_id(config: Config, kind: str) -> int:
    """Return the least id that the new user namespace maps: whom it does not know can make no file in it."""
    return min((entry["containerID"] for entry in mappings(config, kind)), default=0)


def require_mapped(config: Config, kind: str, where: str, numbers: Iterable[int]) -> None:
    """Raise SpecError for an id that the new user namespace has not: nobody can become that."""
    if not mappings(config, kind) or not is_new(config, "user"):
        return
    for number in numbers:
        if not maps(config, kind, number):
            raise SpecError(f"config.json: {where}: {number} is not among linux.{kind}Mappings")


def has_one_group(config: Config, facts: Facts) -> bool:
    """Does a new user namespace map the runtime's own group, as anybody may: then no other can be taken or given up."""
    own = [(entry["hostID"], entry["size"]) for entry in mappings(config, "gid")] == [(facts.gid, 1)]
    return bool(facts.uid) and own and is_new(config, "user")


def let_in(facts: Facts, op: ops.Op) -> list[ops.Op]:
    """Return `op`, for which something is written below /proc that belongs to the process."""
    return [op] if facts.privileged else [ops.Dumpable(1), op, ops.Dumpable(0)]


def oom_score(process: Process, facts: Facts) -> list[ops.Op]:
    """Return what sets the score by which the kernel chooses whom to kill."""
    score = process.get("oomScoreAdj")
    return [] if score is None else let_in(facts, ops.OomScore(str(score)))


def plan(config: Config, facts: Facts, handles: Handles) -> list[ops.Op]:
    """Return the ops of the first process, up to and with the clone.

    Raises SpecError for a config without a mount namespace of its own: its mounts would be the host's.
    """
    namespaces = wanted(config)
    if "mount" not in namespaces:
        raise SpecError("config.json: linux.namespaces must name a mount namespace")
    if namespaces.get("user") == "" and not all(id_maps(config)):
        raise SpecError("config.json: a new user namespace needs linux.uidMappings and linux.gidMappings")
    result = oom_score(config["process"], facts) if "process" in config else []
    # every path is opened before the first namespace is entered: they are paths of the runtime's own
    paths = {kind: path for kind, path in namespaces.items() if path}
    result += [ops.OpenNamespace(CLONE[kind], path) for kind, path in paths.items()]
    numbers = {kind: handles.take() for kind in paths}
    # the user namespace first: it gives the right to enter those that it owns; mount last: /proc goes away with it
    order = sorted(paths, key=lambda kind: (kind != "user", kind == "mount"))
    result += [ops.JoinNamespace(CLONE[kind], numbers[kind]) for kind in order]
    if namespaces.get("user") == "":
        result += let_in(facts, ops.NewUserNamespace(first_id(config, "uid"), first_id(config, "gid")))
    if namespaces.get("time") == "":
        result.append(ops.NewTimeNamespace())
        offsets = config.get("linux", {}).get("timeOffsets", {})
        for clock in "boottime", "monotonic":
            if clock in offsets:
                offset = offsets[clock]
                result.append(ops.TimeOffset(clock, offset.get("secs", 0), offset.get("nanosecs", 0)))
    result.append(ops.Clone(sum(CLONE[kind] for kind in AT_CLONE if namespaces.get(kind) == ""), -1))
    return result


def enter(door: Door) -> list[ops.Op]:
    """Return the ops that lead into a container, with the clone. The cgroup's path is the runtime's.

    Whoever puts a child into a cgroup must have the right to write there, and must see both cgroups where cgroup
    namespaces delimit (cgroups(7), `nsdelegate`). So these two namespaces are entered by the child. Who has no rights
    needs those that the user namespace gives to enter the others, and has the one to the cgroup by name.
    """
    cgroup: list[ops.Op] = [ops.OpenCgroup(door.cgroup)] if door.cgroup else []
    if door.waits:
        cgroup = [ops.Await(SCOPE_GATE)]
    late = door.namespaces & (CLONE["cgroup"] if door.unprivileged else CLONE["user"] | CLONE["cgroup"])
    after = [ops.Enter(late)] if late else []
    # the pidfd is the first descriptor, the cgroup the second
    return [*cgroup, ops.Enter(door.namespaces & ~late), ops.Clone(0, 1 if door.cgroup else -1), *after]

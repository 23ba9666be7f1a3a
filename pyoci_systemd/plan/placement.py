"""Which cgroups the container's processes live in.

PATH                    the cgroupfs manager: linux.cgroupsPath, or the id; from the root of the hierarchy
SCOPE/container         the systemd manager: a cgroup below the scope, where systemd never writes
…/NAME                  with `run.oci.delegate-cgroup=NAME`: the container's to divide, below its limits
"""

from __future__ import annotations

from ..errors import SpecError, quoted
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config

SUBGROUP, DELEGATED = "run.oci.systemd.subgroup", "run.oci.delegate-cgroup"
ONLY_V1 = "run.oci.systemd.force_cgroup_v1"


class Placement(Record):
    """Relative paths; "" is none."""

    path: str = ""
    """from the root of the hierarchy, where it is not systemd that chooses"""
    subgroup: str = ""
    """below the scope: the cgroup that has the limits; without it the scope has them"""
    delegated: str = ""
    """below the one with the limits: the cgroup to enter"""


def plan(config: Config, manager: str, container_id: str) -> Placement:
    """Return where the container lives. Raises SpecError for a place that is none, and for what cgroup v2 has not."""
    notes = config.get("annotations") or {}
    if ONLY_V1 in notes:
        raise SpecError(f"config.json: annotations: {ONLY_V1}: this runtime knows cgroup v2 alone")
    delegated = _annotated(notes, DELEGATED, "")
    if manager == "disabled":
        if delegated:
            raise SpecError(f"config.json: annotations: {DELEGATED}: nothing to delegate without cgroups")
        return Placement()
    if manager == "systemd":
        return Placement(subgroup=_annotated(notes, SUBGROUP, "container"), delegated=delegated)
    if manager == "split":  # half of the one that we stand in, which only a look at the host tells
        return Placement(delegated=delegated)
    asked = config.get("linux", {}).get("cgroupsPath") or container_id
    path = inside(asked, "linux.cgroupsPath")
    if not path:  # all of the machine would be killed with the container
        raise SpecError(f"config.json: linux.cgroupsPath: {quoted(asked)} is the root of the hierarchy")
    return Placement(path=path, delegated=delegated)


def warnings(config: Config, manager: str) -> list[str]:
    """Return what is asked in vain."""
    if manager != "systemd" and (config.get("annotations") or {}).get(SUBGROUP):
        return [f"annotations: {SUBGROUP}: there is no scope to have a cgroup below"]
    return []


def _annotated(notes: dict[str, str], key: str, default: str) -> str:
    return inside(notes.get(key, default), f"annotations: {key}")


def inside(path: str, what: str) -> str:
    """Return `path` as one below where it stands: `a/b`. Raises SpecError for one that leads out of there."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SpecError(f"config.json: {what}: {quoted(path)} must not hold `..`")
    return "/".join(parts)

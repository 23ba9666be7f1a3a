"""linux.resources as unit properties (systemd.resource-control(5)) and as files of a cgroup.

A limit that systemd has a property for goes to the unit, where daemon-reload and `systemctl set-property` know it; all
limits are files of the cgroup in which the container lives.
"""

from __future__ import annotations

from ..errors import SpecError
from .limits import cpu, cpuset, devices, memory, tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from ..cgroupfile import File
    from ..spec.types import Resources

    Property = tuple[str, str, object]

ONLY_V1 = {
    "memory": ("kernel", "kernelTCP", "swappiness", "disableOOMKiller"),
    "cpu": ("realtimeRuntime", "realtimePeriod"),
    "blockIO": ("leafWeight",),
    "network": ("classID", "priorities"),
}
NOT_IN_V2 = "cgroup v2 has no such limit"
RARE = ("blockIO", "hugepageLimits", "rdma", "unified")
LISTS = "a(st)"


def controllers(resources: Resources) -> tuple[ModuleType, ...]:
    """Return the modules that are asked, in the order in which files are written: what `unified` says comes last."""
    if not any(resources.get(section) for section in RARE):
        return memory, cpu, cpuset, tasks
    from .limits import hugetlb, io, rdma, unified  # 10 kB of code that few containers need

    return memory, cpu, cpuset, tasks, io, hugetlb, rdma, unified


def properties(resources: Resources) -> list[Property]:
    """Return every limit that systemd knows, each property once. Raises SpecError for what cannot be done."""
    refuse(resources)
    told: dict[str, Property] = {}
    for controller in controllers(resources):
        for name, kind, value in controller.properties(resources):
            before = told.get(name, (name, kind, []))[2] if kind == LISTS else None
            told[name] = (name, kind, value if before is None else [*before, *value])
    return [*told.values(), *devices.properties(resources)]


def files(resources: Resources) -> list[File]:
    """Return every limit as files, in the order in which they must be written. Raises SpecError."""
    refuse(resources)
    return [file for controller in controllers(resources) for file in controller.files(resources)]


def refuse(resources: Resources) -> None:
    """Raise SpecError for limits that only cgroup v1 has. Empty objects, `false` and 0 ask for nothing."""
    asked: Any = resources
    for section, keys in ONLY_V1.items():
        for key in keys:
            value = (asked.get(section) or {}).get(key)
            # a swappiness of 0 is a wish like any other
            if value or (key == "swappiness" and value == 0):
                raise SpecError(f"config.json: linux.resources.{section}.{key}: {NOT_IN_V2}")
    for index, device in enumerate((resources.get("blockIO") or {}).get("weightDevice") or ()):
        if device.get("leafWeight"):
            raise SpecError(f"config.json: linux.resources.blockIO.weightDevice[{index}].leafWeight: {NOT_IN_V2}")

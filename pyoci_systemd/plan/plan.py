"""The plan: what will be done, as data. Nothing here touches the system."""

from __future__ import annotations

from ..errors import SpecError
from ..record import Record
from . import namespaces, ops, process, properties, resources, rootfs
from .facts import Facts, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config

    Property = tuple[str, str, object]

# Sections that are valid and that the init cannot perform yet. They are refused: a label or a hook that is silently
# left out is a hole.
_LATER = (
    ("hooks",),
    ("process", "selinuxLabel"),
    ("process", "apparmorProfile"),
    ("process", "ioPriority"),
    ("process", "scheduler"),
    ("process", "execCPUAffinity"),
    ("linux", "mountLabel"),
    ("linux", "intelRdt"),
    ("linux", "memoryPolicy"),
    ("linux", "netDevices"),
    ("linux", "seccomp", "listenerPath"),
)


class Plan(Record):
    """Everything that `create` and `run` will do."""

    unit: str
    """the scope, "" without systemd"""
    properties: tuple[Property, ...]
    manager: str
    cgroups_path: str
    """linux.cgroupsPath for the cgroupfs manager"""
    rootfs: str
    ops: list[ops.Op]
    uid_map: str
    gid_map: str
    warnings: list[str]


def refuse_later(config: Config) -> None:
    """Raise SpecError for a section that would have no effect."""
    for path in _LATER:
        value: object = config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        # clients send hooks of every kind with empty lists: that asks for nothing
        if path == ("hooks",) and isinstance(value, dict) and not any(value.values()):
            continue
        if value:
            raise SpecError(f"config.json: {'.'.join(path)} is not supported yet")


def make(config: Config, facts: Facts, request: Request, program: bytes = b"", flags: int = 0) -> Plan:
    """Return the plan of a valid config.

    `program` and `flags`: the compiled seccomp filter. Raises SpecError for what cannot be done.
    """
    refuse_later(config)
    manager = properties.manager(config, request.manager)
    limited = resources.plan(config)
    steps, warnings = process.plan(config, facts, request, program, flags)
    if manager == "disabled" and limited:
        if not all(name.startswith("Device") for name, _, _ in limited):
            raise SpecError("config.json: linux.resources: cannot set limits without cgroups")
        # the default list of a client's is no reason to fail; who asked for no cgroups is told what that means
        warnings.append("linux.resources.devices: nothing restricts devices without cgroups")
    unit = properties.unit_and_slice(config, request.id)[0] if manager == "systemd" else ""
    # a namespace that is joined has its mapping
    uid_map, gid_map = namespaces.id_maps(config) if namespaces.is_new(config, "user") else ("", "")
    return Plan(
        unit=unit,
        properties=properties.plan(config, request) if unit else (),
        manager=manager,
        cgroups_path=config.get("linux", {}).get("cgroupsPath") or "",
        rootfs=rootfs.root_path(config, request.bundle),
        ops=[*namespaces.plan(config), *rootfs.plan(config, facts, request), *steps],
        uid_map=uid_map,
        gid_map=gid_map,
        warnings=warnings,
    )

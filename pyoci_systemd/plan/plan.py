"""The plan: what will be done, as data. Nothing here touches the system."""

from __future__ import annotations

from ..errors import SpecError
from ..record import Record
from . import (
    handlers,
    handover,
    idmaps,
    managers,
    namespaces,
    ops,
    overrides,
    placement,
    process,
    properties,
    resources,
    rootfs,
    seccomp,
)
from .facts import Facts, Request
from .handles import Handles, Mapping
from .limits import devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..cgroupfile import File
    from ..spec.types import Config
    from .limits.devices import Rule
    from .machine import Machine
    from .placement import Placement

    Property = tuple[str, str, object]


class Plan(Record):
    """Everything that `create` and `run` will do."""

    unit: str
    """the scope, "" without systemd"""
    properties: tuple[Property, ...]
    asked: list[str]
    """those of them that annotations or options name: what systemd does not know of these is an error"""
    manager: str
    machine: Machine | None
    """what systemd-machined is told"""
    limits: list[File]
    """what is written into the container's own cgroup"""
    placement: Placement
    """the cgroups in which it lives"""
    rootfs: str
    outside: list[ops.Op]
    """what is done to the init from the runtime's own user namespace when it waits for the last time"""
    ops: list[ops.Op]
    uid_map: str
    gid_map: str
    user_namespace: bool
    """has the container one, new or joined"""
    warnings: list[str]
    mappings: list[Mapping]
    """user namespaces for mounts; they are sent with the ops, after the start socket"""
    devices: list[tuple[str, int, int, int]]
    """path, type, major and minor of the host's devices that are bound"""
    device_rules: list[Rule]
    """for a program that the runtime attaches to the unit's cgroup, or to its own"""

    def last_steps(self) -> list[list[object]]:
        """Return what `start` has to say when a step of its own fails, by number: it has no plan any more."""
        first = next((i for i, op in enumerate(self.ops) if isinstance(op, ops.AwaitStart)), len(self.ops))
        return [[index, self.ops[index].complaint()] for index in range(first, len(self.ops))]


def make(config: Config, facts: Facts, request: Request, program: bytes = b"", flags: int = 0) -> Plan:
    """Return the plan of a valid config.

    `program` and `flags`: the compiled seccomp filter. Raises SpecError for what cannot be done.
    """
    seccomp.listener(config, request.bundle, request.seccomp_receiver)  # that there is one where it is needed
    handlers.check(config.get("annotations") or {})
    config = handover.extended(config, request.handover)
    manager = managers.manager(config, request.manager)
    asked = config.get("linux", {}).get("resources", {})
    kept = manager != "disabled" and facts.restricts_devices
    limits = devices.enforced(asked, kept)
    steps, warnings = process.plan(config, facts, request, program, flags)
    # judged whoever keeps the cgroup
    files, told = resources.files(limits), resources.properties(limits)
    if manager == "disabled" and files:
        raise SpecError("config.json: linux.resources: cannot set limits without cgroups")
    if not kept and devices.restricts(asked):
        # the default list of a client's is no reason to fail; the caller is told what that means
        warnings.append(devices.NO_CGROUP if manager == "disabled" else devices.UNPRIVILEGED)
    warnings += placement.warnings(config, manager)
    unit = properties.unit_and_slice(config, request.id)[0] if manager == "systemd" else ""
    if request.properties and not unit:
        raise SpecError(f"--property: there is no scope under the manager `{manager}`")
    named = overrides.plan(config, request.properties) if unit else []
    # a namespace that is joined has its mapping
    uid_map, gid_map = namespaces.id_maps(config) if namespaces.is_new(config, "user") else ("", "")
    joined = 0 if facts.uid else namespaces.joined(config)
    handles = Handles(int(request.wait_for_start), idmaps.wanted(config), joined)
    if facts.uid:
        # who may not take the sources of mounts outside takes them in the mount namespace, which is as yet the same
        joining = namespaces.plan(config, facts, handles)
        building = rootfs.plan(config, facts, request, handles)
        building = [*joining, *handles.sources, *building]
    else:
        building = rootfs.plan(config, facts, request, handles)
        joining = namespaces.plan(config, facts, handles)
        building = [*handles.sources, *joining, *building]
    return Plan(
        unit=unit,
        properties=properties.plan(config, request, named, told) if unit else (),
        asked=[name for name, _, _ in named],
        manager=manager,
        machine=listed(config, request, manager),
        limits=files,
        placement=placement.plan(config, manager, request.id),
        rootfs=rootfs.root_path(config, request.bundle),
        ops=[*building, *steps],
        outside=process.outside(config["process"], config) if "process" in config else [],
        uid_map=uid_map,
        gid_map=gid_map,
        user_namespace=process.in_user_namespace(config),
        warnings=warnings,
        mappings=handles.mappings,
        devices=handles.devices,
        device_rules=devices.unsaid(limits, manager),
    )


def listed(config: Config, request: Request, manager: str) -> Machine | None:
    """Return what systemd-machined is told. Raises SpecError."""
    if not request.machine and "org.pyoci.machine" not in (config.get("annotations") or {}):
        return None
    from . import machine  # few ask for it

    return machine.plan(config, request, manager)

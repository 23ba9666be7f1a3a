"""Every member of config.json, what it may be, and what is therefore wrong with it: missing, another type, out of range.

`PATH: KIND`, where `[]` is an item of a list, `{}` a member of an object whose names are free, `*` each kind of hook;
`!` behind a path: required, `?` behind a kind: null means that it is not there. A kind is a range, a word of a fixed few
followed by `|`, or one of the names below. It is all said again here, so that a schema that changes by mistake is seen.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.unit.bad_documents import Bad

MEMBERS = """
ociVersion!: version
process: object?
process.terminal: bool
process.consoleSize: object?; process.consoleSize.height!: u64; process.consoleSize.width!: u64
process.user: object?; process.user.uid!: id; process.user.gid!: id; process.user.umask: 0..511
process.user.additionalGids: list?; process.user.additionalGids[]: id
process.args!: fulllist; process.args[]: text
process.env: list?; process.env[]: text
process.cwd!: absolute
process.capabilities: object?; process.capabilities.bounding: list?; process.capabilities.bounding[]: name
process.capabilities.effective: list?; process.capabilities.effective[]: name
process.capabilities.inheritable: list?; process.capabilities.inheritable[]: name
process.capabilities.permitted: list?; process.capabilities.permitted[]: name; process.capabilities.ambient: list?
process.capabilities.ambient[]: name
process.rlimits: list?; process.rlimits[]: object; process.rlimits[].type!: RLIMIT_AS|; process.rlimits[].soft!: u64
process.rlimits[].hard!: u64
process.noNewPrivileges: bool
process.apparmorProfile: line
process.selinuxLabel: line
process.oomScoreAdj: -1000..1000
process.ioPriority: object?; process.ioPriority.class!: IOPRIO_CLASS_RT|; process.ioPriority.priority!: 0..7
process.scheduler: object?; process.scheduler.policy!: SCHED_OTHER|; process.scheduler.nice: -20..19
process.scheduler.priority: i32; process.scheduler.flags: list?
process.scheduler.flags[]: SCHED_FLAG_RESET_ON_FORK|; process.scheduler.runtime: u64
process.scheduler.deadline: u64; process.scheduler.period: u64
process.execCPUAffinity: object?; process.execCPUAffinity.initial: cpus; process.execCPUAffinity.final: cpus
root!: object
root.path!: name
root.readonly: bool
hostname: hostname
domainname: hostname
mounts: list?; mounts[]: object; mounts[].destination!: name; mounts[].type: text; mounts[].source: text
mounts[].options: list?; mounts[].options[]: text; mounts[].uidMappings: list?; mounts[].uidMappings[]: object
mounts[].uidMappings[].containerID!: u32; mounts[].uidMappings[].hostID!: u32
mounts[].uidMappings[].size!: 1..4294967295; mounts[].gidMappings: list?; mounts[].gidMappings[]: object
mounts[].gidMappings[].containerID!: u32; mounts[].gidMappings[].hostID!: u32
mounts[].gidMappings[].size!: 1..4294967295
hooks: object?
hooks.*: list?; hooks.*[]: object; hooks.*[].path!: absolute; hooks.*[].args: list?; hooks.*[].args[]: text
hooks.*[].env: list?; hooks.*[].env[]: text; hooks.*[].timeout: 1..2147483647
annotations: object?; annotations{}: text
linux: object?
linux.namespaces: list?; linux.namespaces[]: object; linux.namespaces[].type!: pid|
linux.namespaces[].path: absolute
linux.uidMappings: list?; linux.uidMappings[]: object; linux.uidMappings[].containerID!: u32
linux.uidMappings[].hostID!: u32; linux.uidMappings[].size!: 1..4294967295
linux.gidMappings: list?; linux.gidMappings[]: object; linux.gidMappings[].containerID!: u32
linux.gidMappings[].hostID!: u32; linux.gidMappings[].size!: 1..4294967295
linux.timeOffsets: object?; linux.timeOffsets.boottime: object?; linux.timeOffsets.boottime.secs: i64
linux.timeOffsets.boottime.nanosecs: 0..999999999; linux.timeOffsets.monotonic: object?
linux.timeOffsets.monotonic.secs: i64; linux.timeOffsets.monotonic.nanosecs: 0..999999999
linux.devices: list?; linux.devices[]: object; linux.devices[].type!: c|; linux.devices[].path!: absolute
linux.devices[].major: i64; linux.devices[].minor: i64; linux.devices[].fileMode: u32; linux.devices[].uid: id
linux.devices[].gid: id
linux.netDevices: object?; linux.netDevices{}: object?; linux.netDevices{}.name: interface
linux.cgroupsPath: line
linux.resources: object?
linux.resources.devices: list?; linux.resources.devices[]: object; linux.resources.devices[].allow!: bool
linux.resources.devices[].type: a|; linux.resources.devices[].major: i64; linux.resources.devices[].minor: i64
linux.resources.devices[].access: access
linux.resources.memory: object?; linux.resources.memory.limit: i64; linux.resources.memory.reservation: i64
linux.resources.memory.swap: i64; linux.resources.memory.kernel: i64; linux.resources.memory.kernelTCP: i64
linux.resources.memory.swappiness: u64; linux.resources.memory.disableOOMKiller: bool
linux.resources.memory.useHierarchy: bool; linux.resources.memory.checkBeforeUpdate: bool
linux.resources.cpu: object?; linux.resources.cpu.shares: u64; linux.resources.cpu.quota: i64
linux.resources.cpu.burst: u64; linux.resources.cpu.period: u64; linux.resources.cpu.realtimeRuntime: i64
linux.resources.cpu.realtimePeriod: u64; linux.resources.cpu.cpus: cpus; linux.resources.cpu.mems: cpus
linux.resources.cpu.idle: i64
linux.resources.pids: object?; linux.resources.pids.limit: i64
linux.resources.blockIO: object?; linux.resources.blockIO.weight: u16; linux.resources.blockIO.leafWeight: u16
linux.resources.blockIO.weightDevice: list?; linux.resources.blockIO.weightDevice[]: object
linux.resources.blockIO.weightDevice[].major!: i64; linux.resources.blockIO.weightDevice[].minor!: i64
linux.resources.blockIO.weightDevice[].weight: u16; linux.resources.blockIO.weightDevice[].leafWeight: u16
linux.resources.blockIO.throttleReadBpsDevice: list?; linux.resources.blockIO.throttleReadBpsDevice[]: object
linux.resources.blockIO.throttleReadBpsDevice[].major!: i64
linux.resources.blockIO.throttleReadBpsDevice[].minor!: i64
linux.resources.blockIO.throttleReadBpsDevice[].rate!: u64; linux.resources.blockIO.throttleWriteBpsDevice: list?
linux.resources.blockIO.throttleWriteBpsDevice[]: object
linux.resources.blockIO.throttleWriteBpsDevice[].major!: i64
linux.resources.blockIO.throttleWriteBpsDevice[].minor!: i64
linux.resources.blockIO.throttleWriteBpsDevice[].rate!: u64; linux.resources.blockIO.throttleReadIOPSDevice: list?
linux.resources.blockIO.throttleReadIOPSDevice[]: object
linux.resources.blockIO.throttleReadIOPSDevice[].major!: i64
linux.resources.blockIO.throttleReadIOPSDevice[].minor!: i64
linux.resources.blockIO.throttleReadIOPSDevice[].rate!: u64; linux.resources.blockIO.throttleWriteIOPSDevice: list?
linux.resources.blockIO.throttleWriteIOPSDevice[]: object
linux.resources.blockIO.throttleWriteIOPSDevice[].major!: i64
linux.resources.blockIO.throttleWriteIOPSDevice[].minor!: i64
linux.resources.blockIO.throttleWriteIOPSDevice[].rate!: u64
linux.resources.hugepageLimits: list?; linux.resources.hugepageLimits[]: object
linux.resources.hugepageLimits[].pageSize!: size; linux.resources.hugepageLimits[].limit!: u64
linux.resources.network: object?; linux.resources.network.classID: u32; linux.resources.network.priorities: list?
linux.resources.network.priorities[]: object; linux.resources.network.priorities[].name!: interface
linux.resources.network.priorities[].priority!: u32
linux.resources.rdma: object?; linux.resources.rdma{}: object; linux.resources.rdma{}.hcaHandles: u32
linux.resources.rdma{}.hcaObjects: u32
linux.resources.unified: object?; linux.resources.unified{}: text
linux.intelRdt: object?; linux.intelRdt.closID: line; linux.intelRdt.schemata: list?
linux.intelRdt.schemata[]: line; linux.intelRdt.l3CacheSchema: text; linux.intelRdt.memBwSchema: bandwidth
linux.intelRdt.enableMonitoring: bool
linux.sysctl: object?; linux.sysctl{}: line
linux.seccomp: object?; linux.seccomp.defaultAction!: SCMP_ACT_KILL|; linux.seccomp.defaultErrnoRet: u32
linux.seccomp.architectures: list?; linux.seccomp.architectures[]: SCMP_ARCH_X86|; linux.seccomp.flags: list?
linux.seccomp.flags[]: SECCOMP_FILTER_FLAG_TSYNC|; linux.seccomp.listenerPath: text
linux.seccomp.listenerMetadata: text; linux.seccomp.syscalls: list?; linux.seccomp.syscalls[]: object
linux.seccomp.syscalls[].names!: fulllist; linux.seccomp.syscalls[].names[]: name
linux.seccomp.syscalls[].action!: SCMP_ACT_KILL|; linux.seccomp.syscalls[].errnoRet: u32
linux.seccomp.syscalls[].args: list?; linux.seccomp.syscalls[].args[]: object
linux.seccomp.syscalls[].args[].index!: 0..5; linux.seccomp.syscalls[].args[].value!: u64
linux.seccomp.syscalls[].args[].valueTwo: u64; linux.seccomp.syscalls[].args[].op!: SCMP_CMP_NE|
linux.rootfsPropagation: private|
linux.maskedPaths: list?; linux.maskedPaths[]: absolute
linux.readonlyPaths: list?; linux.readonlyPaths[]: absolute
linux.mountLabel: line
linux.personality: object?; linux.personality.domain!: LINUX|; linux.personality.flags: list?
linux.personality.flags[]: text
linux.memoryPolicy: object?; linux.memoryPolicy.mode!: MPOL_DEFAULT|; linux.memoryPolicy.nodes: cpus
linux.memoryPolicy.flags: list?; linux.memoryPolicy.flags[]: MPOL_F_NUMA_BALANCING|
"""

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# a name for what stands under `{}`, good for its schema
KEYS = {
    "annotations": "a",
    "linux.netDevices": "eth0",
    "linux.sysctl": "net.ipv4.ip_forward",
    "linux.resources.rdma": "mlx5_1",
    "linux.resources.unified": "memory.high",
}
RANGES = {
    "id": (0, 2**32 - 2),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "i64": (-(2**63), 2**63 - 1),
}
# what the message says is allowed, and what else is not
NOT_STRINGS = ("bool", "object", "list", "fulllist")
LONG = 10**30
KINDS: dict[str, tuple[str, tuple[object, ...]]] = {
    "bool": ("true or false", (1, "yes")),
    "object": ("an object", ("x", [1])),
    "list": ("a list", ("x", {"a": 1})),
    "fulllist": ("a list", ("x", {"a": 1})),
    "text": ("a string without NUL", ("a\0",)),
    "name": ("a string that is not empty and without NUL", ("", "a\0")),
    "line": ("one line without NUL", ("a\nb", "a\0")),
    "hostname": ("one line without NUL", ("a\nb", "a\0")),
    "absolute": ("an absolute path", ("", "a/b", "/a\0")),
    "cpus": ("a list of numbers such as `0-3,7`", ("all", "0x3")),
    "version": ("a version such as `1.3.0`", ("", "1.0", "v1.0.0", "1.0.0\n")),
    "access": ("made of `r`, `w` and `m`", ("rx",)),
    "size": ("a size such as `2MB`", ("", "2M", "0MB", "2MB\n")),
    "bandwidth": ("one line that begins with `MB:`", ("", "L3:0=f", "MB:0=1\n")),
    "interface": ("a name of a network interface", ("", ".", "a/b", "a" * 16, "eth 0")),
}


def members() -> Iterator[tuple[str, str, bool]]:
    """Yield path, kind and whether it is required, of each member."""
    for entry in re.split(r";|\n", MEMBERS.strip()):
        path, kind = entry.strip().split(": ")
        for hook in HOOKS if "*" in path else [""]:
            yield path.replace("*", hook).rstrip("!"), kind, path.endswith("!")


def steps(path: str) -> list[str | int]:
    """Return the way to a member: its names, 0 for the first item of a list, a good name for a free one."""
    taken: list[str | int] = []
    for part in re.findall(r"\w+|\[\]|\{\}", path):
        above = ".".join(str(step) for step in taken)
        taken.append(0 if part == "[]" else KEYS[above] if part == "{}" else part)
    return taken


def said(way: list[str | int]) -> str:
    """Return the JSON path as a message says it."""
    text = ""
    for step in way:
        plain = isinstance(step, str) and re.fullmatch(r"\w+", step)
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if plain else f'["{step}"]'
    return text.removeprefix(".")


def document(way: list[str | int], value: object) -> dict[str, Any]:
    """Return a config that holds `value` there, and nothing else that it need not."""
    config: dict[str, Any] = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}}
    holder: Any = config
    for step, following in itertools.pairwise([*way, ""]):
        below: Any = value if following == "" else [] if following == 0 else {}
        if isinstance(holder, list):
            holder.append(below)
        elif following == "" or step not in holder:
            holder[step] = below
        holder = holder[step]
    return config


def without(way: list[str | int]) -> dict[str, Any]:
    """Return a config in which only that is missing from what surrounds it."""
    config = document(way, None)
    holder: Any = config
    for step in way[:-1]:
        holder = holder[step]
    del holder[way[-1]]
    return config


def shown(value: object) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return "a longer number" if value == LONG else json.dumps(value)


def wrong(kind: str) -> Iterator[tuple[object, str]]:
    """Yield values that `kind` does not allow, and what is said of each after the path."""
    name = kind.rstrip("?")
    values: tuple[object, ...]
    if name[-1] == "|":
        for value in ("", "FOO", name[:-1].swapcase(), 7, ["x"]):
            yield value, f": {shown(value)} is not one of {name[:-1]}"
        return
    if name in KINDS:
        allowed, values = KINDS[name]
        if name in NOT_STRINGS:
            values += (7, "x")
        else:
            values += (7, True, ["x"], {"a": "x"})
    else:
        low, high = RANGES.get(name) or (int(end) for end in name.split(".."))
        allowed, values = f"an integer between {low} and {high}", (low - 1, high + 1, LONG, str(low), True, 1.0, [1])
    if not kind.endswith("?"):
        values += (None,)
    for value in values:  # type: ignore[assignment]
        words = "a string" if not isinstance(value, str) and allowed.startswith(("a string", "one line")) else allowed
        yield value, f" must be {words}, not {shown(value)}"
    if name == "fulllist":
        yield [], " must not be empty"


def cases() -> Iterator[tuple[str, list[Bad]]]:
    """Yield every member with the bad configs that the table gives."""
    for path, kind, required in members():
        way = steps(path)
        bad = [(f"no {path}", without(way), f"{said(way)} is required")] if required else []
        for value, why in wrong(kind):
            bad.append((f"{path} {shown(value)}", document(way, value), f"config.json: {said(way)}{why}"))
        yield path, [Bad(name, json.dumps(config).encode(), says) for name, config, says in bad]


CASES = dict(cases())

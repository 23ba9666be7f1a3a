"""The shape of a config that `load` has passed, for mypy: imported under TYPE_CHECKING only, never at run time.

Every member that the spec lets be left out may be missing; none is None (`load` takes nulls away).
"""

from __future__ import annotations

from typing import Literal, TypedDict

NamespaceType = Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]


class Mapping(TypedDict):
    containerID: int
    hostID: int
    size: int


class ConsoleSize(TypedDict):
    height: int
    width: int


class _User(TypedDict):
    uid: int
    gid: int


class User(_User, total=False):
    umask: int
    additionalGids: list[int]


class Capabilities(TypedDict, total=False):
    bounding: list[str]
    effective: list[str]
    inheritable: list[str]
    permitted: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    type: str
    soft: int
    hard: int


IoPriority = TypedDict("IoPriority", {"class": str, "priority": int})


class _Scheduler(TypedDict):
    policy: str


class Scheduler(_Scheduler, total=False):
    nice: int
    priority: int
    flags: list[str]
    runtime: int
    deadline: int
    period: int


class CpuAffinity(TypedDict, total=False):
    initial: str
    final: str


class _Process(TypedDict):
    cwd: str
    args: list[str]


class Process(_Process, total=False):
    terminal: bool
    consoleSize: ConsoleSize
    user: User
    env: list[str]
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    selinuxLabel: str
    oomScoreAdj: int
    ioPriority: IoPriority
    scheduler: Scheduler
    execCPUAffinity: CpuAffinity


class _Root(TypedDict):
    path: str


class Root(_Root, total=False):
    readonly: bool


class _Mount(TypedDict):
    destination: str


class Mount(_Mount, total=False):
    type: str
    source: str
    options: list[str]
    uidMappings: list[Mapping]
    gidMappings: list[Mapping]


class _Hook(TypedDict):
    path: str


class Hook(_Hook, total=False):
    args: list[str]
    env: list[str]
    timeout: int


class Hooks(TypedDict, total=False):
    prestart: list[Hook]
    createRuntime: list[Hook]
    createContainer: list[Hook]
    startContainer: list[Hook]
    poststart: list[Hook]
    poststop: list[Hook]


class _Namespace(TypedDict):
    type: NamespaceType


class Namespace(_Namespace, total=False):
    path: str


class TimeOffset(TypedDict, total=False):
    secs: int
    nanosecs: int


class TimeOffsets(TypedDict, total=False):
    boottime: TimeOffset
    monotonic: TimeOffset


class _Device(TypedDict):
    type: Literal["c", "b", "u", "p"]
    path: str


class Device(_Device, total=False):
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class NetDevice(TypedDict, total=False):
    name: str


class _DeviceRule(TypedDict):
    allow: bool


class DeviceRule(_DeviceRule, total=False):
    type: Literal["a", "b", "c"]
    major: int
    minor: int
    access: str


class Memory(TypedDict, total=False):
    limit: int
    reservation: int
    swap: int
    kernel: int
    kernelTCP: int
    swappiness: int
    disableOOMKiller: bool
    useHierarchy: bool
    checkBeforeUpdate: bool


class Cpu(TypedDict, total=False):
    shares: int
    quota: int
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    cpus: str
    mems: str
    idle: int


class Pids(TypedDict, total=False):
    limit: int


class _BlockDevice(TypedDict):
    major: int
    minor: int


class WeightDevice(_BlockDevice, total=False):
    weight: int
    leafWeight: int


class ThrottleDevice(_BlockDevice):
    rate: int


class BlockIO(TypedDict, total=False):
    weight: int
    leafWeight: int
    weightDevice: list[WeightDevice]
    throttleReadBpsDevice: list[ThrottleDevice]
    throttleWriteBpsDevice: list[ThrottleDevice]
    throttleReadIOPSDevice: list[ThrottleDevice]
    throttleWriteIOPSDevice: list[ThrottleDevice]


class HugepageLimit(TypedDict):
    pageSize: str
    limit: int


class InterfacePriority(TypedDict):
    name: str
    priority: int


class Network(TypedDict, total=False):
    classID: int
    priorities: list[InterfacePriority]


class Rdma(TypedDict, total=False):
    hcaHandles: int
    hcaObjects: int


class Resources(TypedDict, total=False):
    devices: list[DeviceRule]
    memory: Memory
    cpu: Cpu
    pids: Pids
    blockIO: BlockIO
    hugepageLimits: list[HugepageLimit]
    network: Network
    rdma: dict[str, Rdma]
    unified: dict[str, str]


class IntelRdt(TypedDict, total=False):
    closID: str
    schemata: list[str]
    l3CacheSchema: str
    memBwSchema: str
    enableMonitoring: bool


class _SyscallArg(TypedDict):
    index: int
    value: int
    op: str


class SyscallArg(_SyscallArg, total=False):
    valueTwo: int


class _Syscall(TypedDict):
    names: list[str]
    action: str


class Syscall(_Syscall, total=False):
    errnoRet: int
    args: list[SyscallArg]


class _Seccomp(TypedDict):
    defaultAction: str


class Seccomp(_Seccomp, total=False):
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[Syscall]


class _Personality(TypedDict):
    domain: Literal["LINUX", "LINUX32"]


class Personality(_Personality, total=False):
    flags: list[str]


class _MemoryPolicy(TypedDict):
    mode: str


class MemoryPolicy(_MemoryPolicy, total=False):
    nodes: str
    flags: list[str]


class Linux(TypedDict, total=False):
    namespaces: list[Namespace]
    uidMappings: list[Mapping]
    gidMappings: list[Mapping]
    timeOffsets: TimeOffsets
    devices: list[Device]
    netDevices: dict[str, NetDevice]
    cgroupsPath: str
    resources: Resources
    intelRdt: IntelRdt
    sysctl: dict[str, str]
    seccomp: Seccomp
    rootfsPropagation: str
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    personality: Personality
    memoryPolicy: MemoryPolicy


class _Config(TypedDict):
    ociVersion: str
    root: Root


class Config(_Config, total=False):
    """What `spec.load.load` returns."""

    process: Process
    hostname: str
    domainname: str
    mounts: list[Mount]
    hooks: Hooks
    annotations: dict[str, str]
    linux: Linux

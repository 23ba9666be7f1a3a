"""What the schema cannot say: members that contradict each other, or what the kernel would take for something else.

Each rule looks at one section and returns what is wrong, its JSON path first, or an empty string. Rules run in the
order of the tables below, on values that the schema has passed and nulls have left.
"""

from __future__ import annotations

from ..errors import SpecError, quoted
from . import sysctl
from .formats import ALNUM, made_of
from .numbers import MOST_CPUS, MOST_NODES, bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .types import BlockIO, Config, Linux, Mount, Process, Resources, Scheduler, Seccomp

NEWEST_MINOR = 3  # of runtime-spec 1.x
# the kernel keeps 12 and 20 bits of a device number (linux/kdev_t.h): with more, mknod(2) makes another device
MOST = {"major": (1 << 12) - 1, "minor": (1 << 20) - 1}
CORE_FILES = ("procs", "threads", "subtree_control", "type", "freeze", "kill")


def check(config: Config, name: str) -> None:
    """Raise SpecError when `config`, which the user knows as `name`, breaks a rule."""
    for rule in DOCUMENT_RULES:
        refuse(name, "", rule(config))
    if "process" in config:
        check_process(config["process"], name, "process.")
    linux = config.get("linux")
    if linux is not None:
        for linux_rule in LINUX_RULES:
            refuse(name, "linux.", linux_rule(linux))
        if "resources" in linux:
            check_resources(linux["resources"], name, "linux.resources.")


def check_process(process: Process, name: str, where: str = "") -> None:
    """Raise SpecError when `process` breaks a rule; `where` is the JSON path to it."""
    for rule in PROCESS_RULES:
        refuse(name, where, rule(process))


def check_resources(resources: Resources, name: str, where: str = "") -> None:
    """Raise SpecError when `resources` break a rule; `where` is the JSON path to them."""
    for rule in RESOURCE_RULES:
        refuse(name, where, rule(resources))


def check_mounts(mounts: list[Mount], linux: Linux, name: str) -> None:
    """Raise SpecError when one of `mounts` breaks a rule in a container that has `linux`."""
    refuse(name, "", wrong_mount(mounts, linux))


def refuse(name: str, where: str, wrong: str) -> None:
    if wrong:
        raise SpecError(f"{name}: {where}{wrong}")


def repeated(values: list[str]) -> int:
    """Return the index of the first value that was there before, or -1."""
    if len(set(values)) == len(values):
        return -1
    return next(index for index, value in enumerate(values) if value in values[:index])


def has_namespace(linux: Linux, kind: str) -> bool:
    """Does the container have a namespace of this type, new or joined, that is not the runtime's?"""
    return any(entry["type"] == kind for entry in linux.get("namespaces", ()))


# -- the document -------------------------------------------------------------------------------------------------


def version_is_ours(config: Config) -> str:
    """CFG1."""
    version = config["ociVersion"]
    major, minor, _ = version.split(".", 2)
    if major != "1" or int(minor[:9]) > NEWEST_MINOR:
        return f"ociVersion: {quoted(version)} is not supported, 1.0.0 to 1.{NEWEST_MINOR}.x are"
    return ""


def names_need_uts(config: Config) -> str:
    """Without it sethostname(2) would rename the host."""
    for member in ("hostname", "domainname"):
        if config.get(member) and not has_namespace(config.get("linux", {}), "uts"):
            return f"{member} needs a `uts` namespace in linux.namespaces"
    return ""


def mounts_make_sense(config: Config) -> str:
    """MNT5, MNT6."""
    return wrong_mount(config.get("mounts", []), config.get("linux", {}))


def wrong_mount(mounts: list[Mount], linux: Linux) -> str:
    for index, mount in enumerate(mounts):
        wrong = mount_makes_sense(mount, linux)
        if wrong:
            return f"mounts[{index}]{wrong}"
    return ""


def mount_makes_sense(mount: Mount, linux: Linux) -> str:
    options = mount.get("options", ())
    if not mount.get("source") and (mount.get("type") == "bind" or "bind" in options or "rbind" in options):
        return ".source is required for a bind mount"
    mapped = bool(mount.get("uidMappings"))
    if mapped != bool(mount.get("gidMappings")):
        return ": uidMappings and gidMappings go together"
    if not mapped and ("idmap" in options or "ridmap" in options) and not has_namespace(linux, "user"):
        return ": `idmap` needs mappings, of the mount or of a `user` namespace"
    return ""


# -- process ------------------------------------------------------------------------------------------------------


def rlimits_are_clear(process: Process) -> str:
    """PRC6; a soft limit above the hard one is EINVAL to setrlimit(2)."""
    rlimits = process.get("rlimits", [])
    again = repeated([rlimit["type"] for rlimit in rlimits])
    if again >= 0:
        return f"rlimits[{again}]: {rlimits[again]['type']} is listed twice"
    for index, rlimit in enumerate(rlimits):
        if rlimit["soft"] > rlimit["hard"]:
            return f"rlimits[{index}]: soft ({rlimit['soft']}) is above hard ({rlimit['hard']})"
    return ""


def console_fits(process: Process) -> str:
    """PRC2; struct winsize holds 16 bits."""
    size = process.get("consoleSize")
    if size and process.get("terminal") and max(size["height"], size["width"]) > 65535:
        return "consoleSize: height and width are at most 65535"
    return ""


def scheduler_is_possible(process: Process) -> str:
    """What sched_setattr(2) would answer by EINVAL alone."""
    asked = process.get("scheduler")
    if not asked or any("_KEEP_" in flag for flag in asked.get("flags", ())):
        return ""
    policy, priority = asked["policy"], asked.get("priority", 0)
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            return f"scheduler.priority must be between 1 and 99 for {policy}, not {priority}"
    elif priority:
        return f"scheduler.priority must be 0 for {policy}, not {priority}"
    return deadline_is_possible(asked) if policy == "SCHED_DEADLINE" else ""


def deadline_is_possible(asked: Scheduler) -> str:
    """sched(7), "SCHED_DEADLINE"; a period of 0 is the deadline."""
    runtime, deadline = asked.get("runtime", 0), asked.get("deadline", 0)
    period = asked.get("period", 0) or deadline
    if runtime < 1024:
        return f"scheduler.runtime must be at least 1024 (nanoseconds) for SCHED_DEADLINE, not {runtime}"
    if not runtime <= deadline <= period:
        return f"scheduler: runtime ({runtime}) is at most deadline ({deadline}), and that at most period ({period})"
    return "" if period < 1 << 63 else f"scheduler.period ({period}) is too long"


def affinity_is_a_list(process: Process) -> str:
    for moment, text in process.get("execCPUAffinity", {}).items():
        if isinstance(text, str) and text.strip() and bits(text, MOST_CPUS) < 0:
            return f"execCPUAffinity.{moment}: {quoted(text)} is not a list such as `0-3,7`"
    return ""


# -- linux --------------------------------------------------------------------------------------------------------


def namespaces_are_clear(linux: Linux) -> str:
    """NS1."""
    namespaces = linux.get("namespaces", [])
    again = repeated([entry["type"] for entry in namespaces])
    if again >= 0:
        return f"namespaces[{again}]: `{namespaces[again]['type']}` is listed twice"
    return ""


def sections_have_their_namespace(linux: Linux) -> str:
    """What is set for a namespace must not end in the host's."""
    for section, kind in (
        ("uidMappings", "user"),
        ("gidMappings", "user"),
        ("timeOffsets", "time"),
        ("netDevices", "network"),
    ):
        if linux.get(section) and not has_namespace(linux, kind):
            return f"{section} needs a `{kind}` namespace in linux.namespaces"
    return ""


def devices_have_numbers(linux: Linux) -> str:
    """DEV1."""
    for index, device in enumerate(linux.get("devices", ())):
        for member in ("major", "minor"):
            number = device.get(member)
            if device["type"] == "p":
                continue
            if number is None:
                return f"devices[{index}].{member} is required for a device of type {device['type']}"
            if not isinstance(number, int) or number < 0:
                return f"devices[{index}].{member} must not be negative, not {number}"
            if number > MOST[member]:
                return f"devices[{index}].{member} is at most {MOST[member]}, not {number}"
    return ""


def net_devices_differ(linux: Linux) -> str:
    """NET2, as far as the config alone shows it. Names with `%d` are numbered by the kernel."""
    devices = linux.get("netDevices", {})
    names = [device.get("name", outside) for outside, device in devices.items()]
    again = repeated([name if "%d" not in name else f"{index} {name}" for index, name in enumerate(names)])
    return f"netDevices: two would be called {quoted(names[again])}" if again >= 0 else ""


def cgroup_stays_inside(linux: Linux) -> str:
    """CG2."""
    path = linux.get("cgroupsPath", "")
    if ".." in path.split("/"):
        return f"cgroupsPath: {quoted(path)} must not hold `..`"
    if ":" in path and not path.startswith("/") and (path.count(":") != 2 or "/" in path or path.endswith(":")):
        return f"cgroupsPath: {quoted(path)} is neither a path nor `slice:prefix:name`"
    return ""


def sysctls_are_the_containers(linux: Linux) -> str:
    """Only what a namespace of the container holds may be set: anything else changes the host (CVE-2022-0811)."""
    for key, value in linux.get("sysctl", {}).items():
        where = f"sysctl[{quoted(key)}]"
        names = sysctl.parts(key)
        if not names:
            return f"{where} is no name of a sysctl"
        kind = sysctl.namespace(names)
        if not kind:
            return f"{where} belongs to the whole machine, not to a namespace"
        if not has_namespace(linux, kind):
            return f"{where} needs a `{kind}` namespace in linux.namespaces"
        if not made_of(value, ALNUM + " \t,-_.:/()"):
            return f"{where}: {quoted(value)} is no value of a sysctl"
    return ""


def seccomp_is_consistent(linux: Linux) -> str:
    """SEC2, SEC5."""
    seccomp = linux.get("seccomp")
    if not seccomp:
        return ""
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        return "seccomp.listenerMetadata needs listenerPath"
    return errno_has_its_action(seccomp)


def errno_has_its_action(seccomp: Seccomp) -> str:
    with_errno = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
    if "defaultErrnoRet" in seccomp and seccomp["defaultAction"] not in with_errno:
        return f"seccomp.defaultErrnoRet: {seccomp['defaultAction']} has no errno"
    for index, call in enumerate(seccomp.get("syscalls", ())):
        if "errnoRet" in call and call["action"] not in with_errno:
            return f"seccomp.syscalls[{index}].errnoRet: {call['action']} has no errno"
    return ""


def resctrl_stays_inside(linux: Linux) -> str:
    """RDT2: the closID is the name of one directory, or `/` for the default class, and none of the kernel's own."""
    name = linux.get("intelRdt", {}).get("closID", "")
    if name in (".", "..", "info", "mon_groups", "mon_data") or (name != "/" and "/" in name):
        return f"intelRdt.closID: {quoted(name)} is no name of a directory"
    return ""


def personality_has_no_flags(linux: Linux) -> str:
    """The spec defines none, and an unsupported value is an error (config.md, "Valid values")."""
    flags = linux.get("personality", {}).get("flags")
    return f"personality.flags: {quoted(flags[0])} is not supported: the spec has no flags yet" if flags else ""


def memory_policy_is_possible(linux: Linux) -> str:
    """What set_mempolicy(2) would answer by EINVAL alone."""
    asked = linux.get("memoryPolicy")
    if not asked:
        return ""
    mode, flags, nodes = asked["mode"], asked.get("flags", []), asked.get("nodes", "").strip()
    of_nodes = "MPOL_F_STATIC_NODES" in flags, "MPOL_F_RELATIVE_NODES" in flags
    if nodes and bits(nodes, MOST_NODES) < 0:
        return f"memoryPolicy.nodes: {quoted(nodes)} is not a list such as `0-3,7`"
    if nodes and mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        return f"memoryPolicy.nodes: {mode} takes none, not {quoted(nodes)}"
    if not nodes and mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"):
        return f"memoryPolicy.nodes is required for {mode}"
    if all(of_nodes) or (any(of_nodes) and not nodes):
        return "memoryPolicy.flags: one of MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES, and only with nodes"
    if "MPOL_F_NUMA_BALANCING" in flags and mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
        return f"memoryPolicy.flags: MPOL_F_NUMA_BALANCING does not go with {mode}"
    return ""


# -- resources ----------------------------------------------------------------------------------------------------


def burst_fits_quota(resources: Resources) -> str:
    """CG6."""
    cpu = resources.get("cpu", {})
    burst, quota = cpu.get("burst", 0), cpu.get("quota", 0)
    return f"cpu.burst ({burst}) is above quota ({quota})" if 0 < quota < burst else ""


def swap_includes_memory(resources: Resources) -> str:
    """memory.swap is the sum of both, as it was in cgroup v1."""
    memory = resources.get("memory", {})
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    return f"memory.swap ({swap}) includes memory and is below limit ({limit})" if 0 < swap < limit else ""


def device_rules_have_numbers(resources: Resources) -> str:
    """-1 is any number."""
    for index, rule in enumerate(resources.get("devices", ())):
        major, minor = rule.get("major", 0), rule.get("minor", 0)
        if major < -1 or minor < -1:
            return f"devices[{index}]: major and minor must not be below -1"
        if major > MOST["major"] or minor > MOST["minor"]:
            return f"devices[{index}]: major is at most {MOST['major']}, minor at most {MOST['minor']}"
    return ""


def block_weights_fit(resources: Resources) -> str:
    """CG7; 0 asks for nothing."""
    block: BlockIO = resources.get("blockIO", {})
    if not weight_fits(block.get("weight", 0)):
        return f"blockIO.weight must be between 10 and 1000, not {block['weight']}"
    for index, device in enumerate(block.get("weightDevice", ())):
        where = f"blockIO.weightDevice[{index}]"
        if "weight" not in device and "leafWeight" not in device:
            return f"{where} needs weight or leafWeight"
        if not weight_fits(device.get("weight", 0)):
            return f"{where}.weight must be between 10 and 1000, not {device['weight']}"
    return ""


def weight_fits(weight: int) -> bool:
    return weight == 0 or 10 <= weight <= 1000


def rdma_limits_something(resources: Resources) -> str:
    """CG9."""
    for device, limits in resources.get("rdma", {}).items():
        if not limits.keys() & {"hcaHandles", "hcaObjects"}:
            return f"rdma[{quoted(device)}] needs hcaHandles or hcaObjects"
    return ""


def unified_leaves_the_core(resources: Resources) -> str:
    """The files by which the runtime and systemd place and stop processes are not limits."""
    for key in resources.get("unified", ()):
        if key.startswith("cgroup.") and key[7:] in CORE_FILES:
            return f"unified[{quoted(key)}] is the runtime's own to write"
    return ""


# -- the tables ---------------------------------------------------------------------------------------------------

DOCUMENT_RULES: tuple[Callable[[Config], str], ...] = (version_is_ours, names_need_uts, mounts_make_sense)
PROCESS_RULES: tuple[Callable[[Process], str], ...] = (
    rlimits_are_clear,
    console_fits,
    scheduler_is_possible,
    affinity_is_a_list,
)
LINUX_RULES: tuple[Callable[[Linux], str], ...] = (
    namespaces_are_clear,
    sections_have_their_namespace,
    devices_have_numbers,
    net_devices_differ,
    cgroup_stays_inside,
    sysctls_are_the_containers,
    seccomp_is_consistent,
    resctrl_stays_inside,
    personality_has_no_flags,
    memory_policy_is_possible,
)
RESOURCE_RULES: tuple[Callable[[Resources], str], ...] = (
    burst_fits_quota,
    swap_includes_memory,
    device_rules_have_numbers,
    block_weights_fit,
    rdma_limits_something,
    unified_leaves_the_core,
)

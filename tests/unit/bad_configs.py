"""Configs that must be refused, each with a part of the one line that says why: data for unit and integration tests."""

from __future__ import annotations

from typing import Any

from tests.unit.bad_documents import NO_OBJECT, NOT_JSON, Bad, Change


def put(path: str, value: object) -> Change:
    """Return a change that sets the member at `path` (`linux.namespaces.0.type`), making objects on the way."""

    def change(config: dict[str, Any]) -> None:
        holder, last = _holder(config, path)
        holder[last] = value

    return change


def drop(path: str) -> Change:
    """Return a change that takes the member at `path` away."""

    def change(config: dict[str, Any]) -> None:
        holder, last = _holder(config, path)
        del holder[last]

    return change


def _holder(config: dict[str, Any], path: str) -> tuple[Any, Any]:
    *steps, last = (int(step) if step.isdecimal() else step for step in path.split("."))
    holder: Any = config
    for step in steps:
        holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
    return holder, last


def without(member: str, **members: object) -> dict[str, object]:
    """Return `members` without one of them: what is left when a required one is missing."""
    return {key: value for key, value in members.items() if key != member}


def named(name: str) -> Change:
    """Return the change that adds the sysctl `name`."""

    def change(config: dict[str, Any]) -> None:
        config["linux"]["sysctl"] = {name: "1"}

    return change


RLIMIT = {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
MAPPING = {"containerID": 0, "hostID": 1000, "size": 1}
ARGUMENT = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
THROTTLE = {"major": 8, "minor": 0, "rate": 1}

MISSING = (
    Bad("no ociVersion", drop("ociVersion"), "config.json: ociVersion is required"),
    Bad("no root", drop("root"), "config.json: root is required"),
    Bad("no root.path", drop("root.path"), "config.json: root.path is required"),
    Bad("no cwd", drop("process.cwd"), "process.cwd is required"),
    Bad("no args", drop("process.args"), "process.args is required"),
    Bad("no uid", drop("process.user.uid"), "process.user.uid is required"),
    Bad("no gid", drop("process.user.gid"), "process.user.gid is required"),
    Bad("no console height", put("process.consoleSize", {"width": 80}), "process.consoleSize.height is required"),
    Bad("no console width", put("process.consoleSize", {"height": 25}), "process.consoleSize.width is required"),
    *(
        Bad(
            f"no rlimit {member}",
            put("process.rlimits", [without(member, **RLIMIT)]),
            f"rlimits[0].{member} is required",
        )
        for member in RLIMIT
    ),
    Bad("no ioPriority class", put("process.ioPriority", {"priority": 1}), "process.ioPriority.class is required"),
    Bad(
        "no ioPriority priority",
        put("process.ioPriority", {"class": "IOPRIO_CLASS_BE"}),
        "process.ioPriority.priority is required",
    ),
    Bad("no scheduler policy", put("process.scheduler", {"nice": 1}), "process.scheduler.policy is required"),
    Bad("no destination", drop("mounts.3.destination"), "mounts[3].destination is required"),
    Bad("no hook path", put("hooks.prestart", [{"args": ["x"]}]), "hooks.prestart[0].path is required"),
    Bad("no namespace type", drop("linux.namespaces.1.type"), "linux.namespaces[1].type is required"),
    *(
        Bad(
            f"no mapping {member}",
            put("linux.uidMappings", [without(member, **MAPPING)]),
            f"linux.uidMappings[0].{member} is required",
        )
        for member in MAPPING
    ),
    Bad("no device type", put("linux.devices", [{"path": "/dev/x"}]), "linux.devices[0].type is required"),
    Bad("no device path", put("linux.devices", [{"type": "p"}]), "linux.devices[0].path is required"),
    Bad("no device major", put("linux.devices", [{"type": "c", "path": "/dev/x", "minor": 1}]), "major is required"),
    Bad("no device minor", put("linux.devices", [{"type": "b", "path": "/dev/x", "major": 1}]), "minor is required"),
    Bad("no allow", drop("linux.resources.devices.0.allow"), "linux.resources.devices[0].allow is required"),
    Bad(
        "no page size", put("linux.resources.hugepageLimits", [{"limit": 1}]), "hugepageLimits[0].pageSize is required"
    ),
    Bad("no page limit", put("linux.resources.hugepageLimits", [{"pageSize": "2MB"}]), "[0].limit is required"),
    *(
        Bad(
            f"no throttle {member}",
            put("linux.resources.blockIO.throttleReadBpsDevice", [without(member, **THROTTLE)]),
            f"throttleReadBpsDevice[0].{member} is required",
        )
        for member in THROTTLE
    ),
    Bad(
        "no weight",
        put("linux.resources.blockIO.weightDevice", [{"major": 8, "minor": 0}]),
        "needs weight or leafWeight",
    ),
    Bad("no rdma limit", put("linux.resources.rdma", {"mlx5_1": {}}), 'rdma["mlx5_1"] needs hcaHandles or hcaObjects'),
    Bad("no default action", put("linux.seccomp", {"syscalls": []}), "linux.seccomp.defaultAction is required"),
    Bad(
        "no syscall names",
        put("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_KILL"}]}),
        "linux.seccomp.syscalls[0].names is required",
    ),
    Bad(
        "no syscall action",
        put("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"]}]}),
        "linux.seccomp.syscalls[0].action is required",
    ),
    *(
        Bad(
            f"no syscall argument {member}",
            put(
                "linux.seccomp",
                {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_LOG", "args": [without(member, **ARGUMENT)]}],
                },
            ),
            f"syscalls[0].args[0].{member} is required",
        )
        for member in ARGUMENT
    ),
    Bad("no domain", put("linux.personality", {"flags": []}), "linux.personality.domain is required"),
    Bad("no memory policy mode", put("linux.memoryPolicy", {"nodes": "0"}), "linux.memoryPolicy.mode is required"),
)

WRONG_TYPE = (
    Bad("args a string", put("process.args", "sh"), 'config.json: process.args must be a list, not "sh"'),
    Bad("args null", put("process.args", None), "process.args must be a list, not null"),
    Bad("args a list of numbers", put("process.args", ["sleep", 5]), "process.args[1] must be a string, not 5"),
    Bad("env an object", put("process.env", {"A": "b"}), "process.env must be a list, not an object"),
    Bad("cwd a list", put("process.cwd", ["/"]), "process.cwd must be an absolute path, not a list"),
    Bad("process a list", put("process", [1]), "process must be an object, not a list"),
    Bad("user a string", put("process.user", "root"), 'process.user must be an object, not "root"'),
    Bad(
        "true for uid",
        put("process.user.uid", True),
        "process.user.uid must be an integer between 0 and 4294967294, not true",
    ),
    Bad("false for gid", put("process.user.gid", False), "process.user.gid must be an integer"),
    Bad(
        "string for uid",
        put("process.user.uid", "0"),
        'process.user.uid must be an integer between 0 and 4294967294, not "0"',
    ),
    Bad("fraction for uid", put("process.user.uid", 0.5), "process.user.uid must be an integer"),
    Bad("1.0 for uid", put("process.user.uid", 1.0), "process.user.uid must be an integer"),
    Bad("null for uid", put("process.user.uid", None), "process.user.uid must be an integer"),
    Bad("1 for terminal", put("process.terminal", 1), "process.terminal must be true or false, not 1"),
    Bad("string for readonly", put("root.readonly", "yes"), 'root.readonly must be true or false, not "yes"'),
    Bad("null for hostname", put("hostname", None), "hostname must be a string, not null"),
    Bad("number for hostname", put("hostname", 7), "hostname must be a string, not 7"),
    Bad("root a string", put("root", "rootfs"), 'root must be an object, not "rootfs"'),
    Bad("mounts an object", put("mounts", {"/proc": "proc"}), "mounts must be a list, not an object"),
    Bad("mount a string", put("mounts.0", "/proc"), 'mounts[0] must be an object, not "/proc"'),
    Bad("mount options a string", put("mounts.0.options", "ro,nosuid"), "mounts[0].options must be a list"),
    Bad("annotation a number", put("annotations", {"a": 1}), "annotations.a must be a string, not 1"),
    Bad("annotation null", put("annotations", {"a": None}), "annotations.a must be a string, not null"),
    Bad(
        "namespaces a list of strings",
        put("linux.namespaces", ["pid"]),
        'linux.namespaces[0] must be an object, not "pid"',
    ),
    Bad(
        "memory limit a string",
        put("linux.resources.memory.limit", "64m"),
        "linux.resources.memory.limit must be an integer",
    ),
    Bad("hook timeout a string", put("hooks.poststop", [{"path": "/x", "timeout": "5"}]), "timeout must be an integer"),
    Bad(
        "sysctl a number",
        put("linux.sysctl", {"net.ipv4.ip_forward": 1}),
        'sysctl["net.ipv4.ip_forward"] must be a string',
    ),
    Bad("capabilities a list", put("process.capabilities", ["CAP_KILL"]), "process.capabilities must be an object"),
)

WRONG_VALUE = (
    Bad(
        "negative uid",
        put("process.user.uid", -1),
        "process.user.uid must be an integer between 0 and 4294967294, not -1",
    ),
    Bad("uid that means unchanged", put("process.user.uid", 2**32 - 1), "process.user.uid must be"),
    Bad(
        "uid 2^32",
        put("process.user.uid", 2**32),
        "process.user.uid must be an integer between 0 and 4294967294, not 4294967296",
    ),
    Bad(
        "additional gid 2^32", put("process.user.additionalGids", [5, 2**32]), "process.user.additionalGids[1] must be"
    ),
    Bad("umask 01777", put("process.user.umask", 0o1777), "process.user.umask must be an integer between 0 and 511"),
    Bad("rlimit 2^64", put("process.rlimits.0.hard", 2**64), "process.rlimits[0].hard must be"),
    Bad(
        "oomScoreAdj 1001",
        put("process.oomScoreAdj", 1001),
        "process.oomScoreAdj must be an integer between -1000 and 1000",
    ),
    Bad(
        "ioPriority 8", put("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8}), "between 0 and 7, not 8"
    ),
    Bad("nice 20", put("process.scheduler", {"policy": "SCHED_OTHER", "nice": 20}), "between -20 and 19, not 20"),
    Bad(
        "syscall argument 6",
        put(
            "linux.seccomp",
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_LOG", "args": [ARGUMENT | {"index": 6}]}],
            },
        ),
        "args[0].index must be an integer between 0 and 5, not 6",
    ),
    Bad("pids limit 2^63", put("linux.resources.pids.limit", 2**63), "linux.resources.pids.limit must be"),
    Bad("hook timeout 0", put("hooks.poststart", [{"path": "/x", "timeout": 0}]), "hooks.poststart[0].timeout must be"),
    Bad("mapping of nothing", put("linux.gidMappings", [MAPPING | {"size": 0}]), "linux.gidMappings[0].size must be"),
    Bad("args empty", put("process.args", []), "process.args must not be empty"),
    Bad("cwd relative", put("process.cwd", "tmp"), 'process.cwd must be an absolute path, not "tmp"'),
    Bad("cwd empty", put("process.cwd", ""), "process.cwd must be an absolute path"),
    Bad("cwd with NUL", put("process.cwd", "/tmp\0/x"), r'process.cwd must be an absolute path, not "/tmp\u0000/x"'),
    Bad("args with NUL", put("process.args", ["sh", "a\0b"]), "process.args[1] must be a string without NUL"),
    Bad("env with NUL", put("process.env", ["A=\0"]), "process.env[0] must be a string without NUL"),
    Bad("root.path empty", put("root.path", ""), "root.path must be a string that is not empty"),
    Bad("root.path with NUL", put("root.path", "root\0fs"), "root.path must be a string"),
    Bad(
        "destination empty", put("mounts.0.destination", ""), "mounts[0].destination must be a string that is not empty"
    ),
    Bad("source with NUL", put("mounts.0.source", "a\0"), "mounts[0].source must be a string without NUL"),
    Bad(
        "mount option with NUL", put("mounts.0.options", ["ro\0"]), "mounts[0].options[0] must be a string without NUL"
    ),
    Bad("hostname of 65", put("hostname", "h" * 65), "hostname must be at most 64 characters long"),
    Bad("hostname with newline", put("hostname", "host\n"), "hostname must be one line"),
    Bad(
        "hook path relative",
        put("hooks.createRuntime", [{"path": "true"}]),
        "hooks.createRuntime[0].path must be an absolute path",
    ),
    Bad(
        "unknown namespace",
        put("linux.namespaces.2.type", "foo"),
        'linux.namespaces[2].type: "foo" is not one of pid, network',
    ),
    Bad(
        "namespace path relative",
        put("linux.namespaces.0.path", "proc/1/ns/pid"),
        "linux.namespaces[0].path must be an absolute",
    ),
    Bad(
        "unknown rlimit",
        put("process.rlimits.0.type", "RLIMIT_FOO"),
        'process.rlimits[0].type: "RLIMIT_FOO" is not one of',
    ),
    Bad("unknown propagation", put("linux.rootfsPropagation", "public"), '"public" is not one of private'),
    Bad(
        "unknown seccomp action", put("linux.seccomp", {"defaultAction": "DENY"}), 'defaultAction: "DENY" is not one of'
    ),
    Bad(
        "unknown architecture",
        put("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86_64"]}),
        'linux.seccomp.architectures[0]: "x86_64" is not one of',
    ),
    Bad(
        "unknown personality",
        put("linux.personality", {"domain": "BSD"}),
        'linux.personality.domain: "BSD" is not one of',
    ),
    Bad(
        "unknown device type",
        put("linux.devices", [{"type": "d", "path": "/dev/x"}]),
        'devices[0].type: "d" is not one of',
    ),
    Bad("device access", put("linux.resources.devices.0.access", "rwx"), "devices[0].access must be made of"),
    Bad("cpus in words", put("linux.resources.cpu.cpus", "all"), "linux.resources.cpu.cpus must be a list of numbers"),
    Bad(
        "masked path relative",
        put("linux.maskedPaths", ["proc/kcore"]),
        "linux.maskedPaths[0] must be an absolute path",
    ),
    Bad("read-only path relative", put("linux.readonlyPaths", [""]), "linux.readonlyPaths[0] must be an absolute path"),
    Bad("annotation without a key", put("annotations", {"": "x"}), 'annotations: key "" must be'),
    Bad("net device with a slash", put("linux.netDevices", {"../eth0": {}}), 'linux.netDevices: key "../eth0" must be'),
    Bad("memory bandwidth", put("linux.intelRdt", {"memBwSchema": "L3:0=f"}), "linux.intelRdt.memBwSchema must be"),
    Bad(
        "unified out of the cgroup (GHSA-5g49-rx9x-qfc6)",
        put("linux.resources.unified", {"../../x/cgroup.procs": "1"}),
        'linux.resources.unified: key "../../x/cgroup.procs" must be a file of a cgroup',
    ),
    Bad("version 1.0", put("ociVersion", "1.0"), 'ociVersion must be a version such as `1.3.0`, not "1.0"'),
)

AGAINST_A_RULE = (
    Bad("version 2.0.0", put("ociVersion", "2.0.0"), 'ociVersion: "2.0.0" is not supported, 1.0.0 to 1.3.x are'),
    Bad("version 0.9.0", put("ociVersion", "0.9.0"), 'ociVersion: "0.9.0" is not supported'),
    Bad("version 1.4.0", put("ociVersion", "1.4.0"), 'ociVersion: "1.4.0" is not supported'),
    Bad("hostname of the host", put("linux.namespaces", [{"type": "mount"}]), "hostname needs a `uts` namespace"),
    Bad("namespace twice", put("linux.namespaces.1.type", "pid"), "linux.namespaces[1]: `pid` is listed twice"),
    Bad("rlimit twice", put("process.rlimits", [RLIMIT, RLIMIT]), "process.rlimits[1]: RLIMIT_CORE is listed twice"),
    Bad("soft above hard", put("process.rlimits.0.soft", 1025), "rlimits[0]: soft (1025) is above hard (1024)"),
    Bad("console of 65536 lines", put("process.consoleSize", {"height": 65536, "width": 80}), "at most 65535"),
    Bad("bind without source", put("mounts.0", {"destination": "/x", "type": "bind"}), "mounts[0].source is required"),
    Bad(
        "uid mappings alone",
        put("mounts.0.uidMappings", [MAPPING]),
        "mounts[0]: uidMappings and gidMappings go together",
    ),
    Bad("idmap without mappings", put("mounts.0.options", ["idmap"]), "mounts[0]: `idmap` needs mappings"),
    Bad("mappings without user namespace", put("linux.uidMappings", [MAPPING]), "uidMappings needs a `user` namespace"),
    Bad("time without namespace", put("linux.timeOffsets", {"boottime": {"secs": 1}}), "needs a `time` namespace"),
    Bad("negative device", put("linux.devices", [{"type": "c", "path": "/dev/x", "major": -1, "minor": 1}]), "not -1"),
    Bad("two devices, one name", put("linux.netDevices", {"a": {"name": "b"}, "b": {}}), 'two would be called "b"'),
    Bad("cgroup path up", put("linux.cgroupsPath", "/a/../b"), "linux.cgroupsPath"),
    Bad(
        "cgroup path of two parts", put("linux.cgroupsPath", "system.slice:x"), "neither a path nor `slice:prefix:name`"
    ),
    Bad("core_pattern (CVE-2022-0811)", named("kernel.core_pattern"), "belongs to the whole machine"),
    Bad("core_pattern, slashes", named("kernel/core_pattern"), "belongs to the whole machine"),
    Bad("core_pattern, the long way", named("net/../kernel/core_pattern"), "is no name of a sysctl"),
    Bad("two sysctls in one", named("kernel.shm_rmid_forced=1+kernel.core_pattern"), "is no name of a sysctl"),
    Bad(
        "two sysctls in one value",
        put("linux.sysctl", {"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/x"}),
        "is no value of a sysctl",
    ),
    Bad("sysctl without namespace", named("user.max_user_namespaces"), "needs a `user` namespace"),
    Bad(
        "errno without its action",
        put("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
        "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW has no errno",
    ),
    Bad(
        "errno of a syscall without its action",
        put(
            "linux.seccomp",
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_KILL", "errnoRet": 1}],
            },
        ),
        "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_KILL has no errno",
    ),
    Bad(
        "listener data without listener",
        put("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
        "linux.seccomp.listenerMetadata needs listenerPath",
    ),
    *(
        Bad(f"scheduler {asked}", put("process.scheduler", {"policy": f"SCHED_{policy}", **asked}), f"scheduler{said}")
        for policy, asked, said in (
            ("FIFO", {}, ".priority must be between 1 and 99 for SCHED_FIFO, not 0"),
            ("RR", {"priority": 100}, ".priority must be between 1 and 99 for SCHED_RR, not 100"),
            ("OTHER", {"priority": 1}, ".priority must be 0 for SCHED_OTHER, not 1"),
            (
                "DEADLINE",
                {"priority": 1, "runtime": 10000, "deadline": 10000},
                ".priority must be 0 for SCHED_DEADLINE",
            ),
            ("DEADLINE", {"runtime": 1023, "deadline": 2000}, ".runtime must be at least 1024 (nanoseconds)"),
            ("DEADLINE", {"runtime": 3000, "deadline": 2000}, ": runtime (3000) is at most deadline (2000)"),
            (
                "DEADLINE",
                {"runtime": 2000, "deadline": 4000, "period": 3000},
                ": runtime (2000) is at most deadline (4000), and that at most period (3000)",
            ),
            (
                "DEADLINE",
                {"runtime": 2000, "deadline": 2000, "period": 1 << 63},
                ".period (9223372036854775808) is too long",
            ),
        )
    ),
    *(
        Bad(f"processors {text!r}", put("process.execCPUAffinity", {"final": text}), f'final: "{text}" is not a list')
        for text in ("1-0", "1,,2", "-1", "8192", "0-8192", "0-", "1 2")
    ),
    *(
        Bad(f"memory policy {mode} {more}", put("linux.memoryPolicy", {"mode": f"MPOL_{mode}", **more}), said)
        for mode, more, said in (
            ("BIND", {}, "memoryPolicy.nodes is required for MPOL_BIND"),
            ("INTERLEAVE", {"nodes": " "}, "memoryPolicy.nodes is required for MPOL_INTERLEAVE"),
            ("LOCAL", {"nodes": "0"}, 'memoryPolicy.nodes: MPOL_LOCAL takes none, not "0"'),
            ("DEFAULT", {"nodes": "0"}, 'memoryPolicy.nodes: MPOL_DEFAULT takes none, not "0"'),
            ("BIND", {"nodes": "1024"}, 'memoryPolicy.nodes: "1024" is not a list'),
            ("BIND", {"nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}, "flags: one of"),
            ("PREFERRED", {"flags": ["MPOL_F_STATIC_NODES"]}, "flags: one of"),
            ("INTERLEAVE", {"nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, "does not go with MPOL_INTERLEAVE"),
        )
    ),
    Bad(
        "flag of a personality",
        put("linux.personality", {"domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE"]}),
        'linux.personality.flags: "ADDR_NO_RANDOMIZE" is not supported',
    ),
    Bad("closID of the kernel's", put("linux.intelRdt", {"closID": "info"}), 'linux.intelRdt.closID: "info"'),
    Bad("closID up", put("linux.intelRdt", {"closID": "../x"}), 'linux.intelRdt.closID: "../x"'),
    Bad("burst above quota", put("linux.resources.cpu", {"quota": 5, "burst": 6}), "cpu.burst (6) is above quota (5)"),
    Bad("swap below memory", put("linux.resources.memory", {"limit": 9, "swap": 8}), "memory.swap (8) includes memory"),
    Bad("device rule below any", put("linux.resources.devices.0.major", -2), "devices[0]: major and minor must not be"),
    Bad(
        "net device of the host",
        put("linux", {"netDevices": {"eth0": {}}, "namespaces": [{"type": "uts"}]}),
        "`network`",
    ),
    Bad("weight 5", put("linux.resources.blockIO.weight", 5), "blockIO.weight must be between 10 and 1000, not 5"),
    Bad("unified cgroup.procs", put("linux.resources.unified", {"cgroup.procs": "1"}), "is the runtime's own to write"),
)

CASES = (*NOT_JSON, *NO_OBJECT, *MISSING, *WRONG_TYPE, *WRONG_VALUE, *AGAINST_A_RULE)

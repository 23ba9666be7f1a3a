"""How the values of ops are said: numbers of the kernel as the names its manual pages give them."""

from __future__ import annotations

from _struct import unpack

from ..spec.numbers import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CLONE = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
    "time": 0x00000080,
}

# linux/mount.h: MOUNT_ATTR_*
ATTRIBUTES = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "noatime": 0x10,
    "strictatime": 0x20,
    "nodiratime": 0x80,
    "nosymfollow": 0x200000,
}

PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
RECURSIVE = 1 << 14

# where the init waits for the runtime; init.c knows the numbers of two
SCOPE_GATE, STATE_GATE, MAPPED_GATE, HOOKS_GATE, START_GATE = range(5)
NETWORK_GATE, LISTENER_GATE, MOUNT_GATE, CREDENTIAL_GATE = range(5, 9)
GATES = (
    "its cgroup stands",
    "the runtime has written the state",
    "its ids are mapped",
    "the hooks have run",
    "the hooks of the start have run",
    "its network devices are there",
    "the filter's listener has been passed on",
    "the runtime has hold of the mount",
    "the credential is written",
)

# capability(7), in the order of their numbers
CAPABILITIES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP "
    "CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER "
    "CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE "
    "CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL "
    "CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ "
    "CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"
).split()

# getrlimit(2), in the order of their numbers on every architecture but alpha, mips and sparc
RLIMITS = (
    "RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE "
    "RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME"
).split()

PERSONALITIES = {"LINUX": 0, "LINUX32": 8}

# sched(7), linux/sched/types.h
SCHEDULER_ATTRIBUTES = "=IIQiIQQQII"
SCHEDULER_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}

# ioprio_set(2)
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}

# set_mempolicy(2)
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}

DEVICE_TYPES = {0o020000: "character device", 0o060000: "block device", 0o010000: "fifo"}
UNLIMITED = (1 << 64) - 1
NEW_LISTENER = 1 << 3  # seccomp(2): SECCOMP_FILTER_FLAG_NEW_LISTENER


def flags(value: int, names: dict[str, int]) -> str:
    """Return the names of the bits set in `value`, then what no name covers in hexadecimal."""
    said = [name for name, bit in names.items() if value & bit]
    rest = value & ~sum(bit for name, bit in names.items() if value & bit)
    return ", ".join([*said, hex(rest)] if rest else said)


def capabilities(mask: int) -> str:
    """Return a capability set as a readable list."""
    if mask == (1 << len(CAPABILITIES)) - 1:
        return "all"
    return ", ".join(name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1) or "none"


def propagation(value: int) -> str:
    """Return a propagation type in the words of mount(8), `rslave` for a recursive slave."""
    if not value:
        return "propagation as it is"
    recursive = "r" if value & RECURSIVE else ""
    return recursive + flags(value & ~RECURSIVE, PROPAGATION)


def groups(packed: bytes) -> str:
    """Return packed 32-bit group ids as a readable list."""
    ids = [int.from_bytes(packed[at : at + 4], "little") for at in range(0, len(packed), 4)]
    return ", ".join(map(str, ids)) or "none"


def name(value: int, names: dict[str, int]) -> str:
    """Return the name of a number, the number itself where it has none."""
    return next((word for word, number in names.items() if number == value), hex(value))


def attributes(packed: bytes) -> str:
    """Return struct sched_attr as its policy and what is set besides."""
    _, policy, on, nice, priority, runtime, deadline, period, _, _ = unpack(SCHEDULER_ATTRIBUTES, packed)
    numbers = {"nice": nice, "priority": priority, "runtime": runtime, "deadline": deadline, "period": period}
    more = [f"{key} {number}" for key, number in numbers.items() if number]
    return ", ".join([name(policy, SCHEDULER_POLICIES), *more, *([flags(on, SCHEDULER_FLAGS)] if on else [])])


def io_priority(value: int) -> str:
    """Return an I/O priority as its class and its level."""
    return f"{name(value >> 13, IO_CLASSES)}, {value & 0x1FFF}"


def memory_mode(value: int) -> str:
    """Return the mode of a memory policy with its flags."""
    on = value & sum(MEMORY_FLAGS.values())
    return ", ".join([name(value & ~on, MEMORY_MODES), *([flags(on, MEMORY_FLAGS)] if on else [])])


def numbered(what: str, packed: bytes) -> str:
    """Return a bit mask as `what` and its numbers."""
    mask = int.from_bytes(packed, "little")
    return f"the {what}{'s' if mask & (mask - 1) else ''} {said(mask)}"


_CLEARED = {"ro": "rw", "nosuid": "suid", "nodev": "dev", "noexec": "exec", "nodiratime": "diratime"}
_CLEARED["nosymfollow"] = "symfollow"
ACCESS_TIME = 0x70
RESOLVE = {"the target itself if it is a link": 2, "as open as what it covers": 4, "a copy of what it covers": 8}

# open_tree(2)
CLONE_TREE = 0x80001  # OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC
BELOW, NOFOLLOW = 0x8000, 0x100  # AT_RECURSIVE, AT_SYMLINK_NOFOLLOW


def words(on: int, off: int) -> list[str]:
    """Return what mount_setattr(2) sets and clears in the words of mount(8)."""
    said = [name for name in ("relatime",) if off & ACCESS_TIME and not on & ACCESS_TIME]
    said += [word for name, word in _CLEARED.items() if off & ATTRIBUTES[name]]
    known = ACCESS_TIME | sum(ATTRIBUTES[name] for name in _CLEARED)
    return [*([flags(on, ATTRIBUTES)] if on else []), *said, *([f"not {off & ~known:#x}"] if off & ~known else [])]


def mounted(op: dict[str, int]) -> str:
    """Return how a mount is made: attributes, those for all below it with an `r`, propagation, where it may lead."""
    below = words(op["recursive_set"], op["recursive_clear"])
    said = words(op["set"], op["clear"]) + ["r" + word for words in below for word in words.split(", ")]
    if op["propagation"]:
        said.append(propagation(op["propagation"]))
    if op.get("resolve"):
        said += [text for text, bit in RESOLVE.items() if op["resolve"] & bit]
    # that nothing on the way to /proc and /sys may be a link goes without saying; elsewhere it does not
    return attached(", ".join(said))


def attached(text: str) -> str:
    """Return `text` in brackets, or nothing."""
    return f" ({text})" if text else ""


SAY: dict[str, Callable[[Any], str]] = {
    "namespace": lambda value: flags(value, CLONE),
    "namespaces": lambda value: flags(value, CLONE) or "none",
    "propagation": propagation,
    "data": lambda value: " with " + ", ".join(value) if value else "",
    "recursive": lambda value: " with all below it" if value else "",
    "reach": lambda value: (" with all below it" if value & BELOW else "")
    + (", a link itself," if value & NOFOLLOW else ""),
    "fallback": lambda value: f", or bind `{value}`" if value else "",
    "bind": lambda value: " for `/dev/console`" if value else "",
    "mode": lambda value: f"{DEVICE_TYPES[value & 0o170000]} {value & 0o7777:04o}",
    "columns": lambda value: f" of {value}" if value else "",
    "rows": lambda value: f" × {value}" if value else "",
    "last": lambda value: " as the user" if value else "",
    "gate": lambda value: GATES[value],
    "dumpable": lambda value: "let its user look into it" if value else "let nobody look into it",
    "resource": lambda value: RLIMITS[value],
    "soft": lambda value: "unlimited" if value in (UNLIMITED, -1) else str(value),
    "hard": lambda value: "unlimited" if value in (UNLIMITED, -1) else str(value),
    "mask": lambda value: f"{value:04o}",
    "groups": groups,
    "program": lambda value: str(len(value) // 8),
    "flags": lambda value: ", and make its listener" if value & NEW_LISTENER else "",
    "domain": lambda value: name(value, PERSONALITIES),
    "attributes": attributes,
    "io_priority": io_priority,
    "memory_mode": memory_mode,
    "nodes": lambda value: " of " + numbered("node", value) if value else "",
    "cpus": lambda value: numbered("processor", value),
    "argv": lambda value: " ".join(value),
    "capabilities": capabilities,
    "permitted": capabilities,
    "effective": capabilities,
    "inheritable": capabilities,
    "ambient": capabilities,
}


def spoken(field: str, value: object) -> str:
    """Return `value` of the op field `field` as a person would write it."""
    say = SAY.get(field)
    return say(value) if say else str(value)

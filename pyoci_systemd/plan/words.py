"""How the values of ops are said: numbers of the kernel as the names its manual pages give them."""

from __future__ import annotations

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

GATES = ("its cgroup stands", "the runtime has written the state")

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

DEVICE_TYPES = {0o020000: "character device", 0o060000: "block device", 0o010000: "fifo"}
UNLIMITED = (1 << 64) - 1


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
    recursive = "r" if value & RECURSIVE else ""
    return recursive + flags(value & ~RECURSIVE, PROPAGATION)


def groups(packed: bytes) -> str:
    """Return packed 32-bit group ids as a readable list."""
    ids = [int.from_bytes(packed[at : at + 4], "little") for at in range(0, len(packed), 4)]
    return ", ".join(map(str, ids)) or "none"


_CLEARED = {"ro": "rw", "nosuid": "suid", "nodev": "dev", "noexec": "exec", "nodiratime": "diratime"}
_CLEARED["nosymfollow"] = "symfollow"
ACCESS_TIME = 0x70
RESOLVE = {"through no link": 1, "the source itself if it is a link": 2, "the target itself if it is a link": 4}


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
    if op.get("resolve", 0) & ~1:
        said.append(flags(op["resolve"] & ~1, RESOLVE))
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
    "mode": lambda value: f"{DEVICE_TYPES[value & 0o170000]} {value & 0o7777:04o}",
    "gate": lambda value: GATES[value],
    "resource": lambda value: RLIMITS[value],
    "soft": lambda value: "unlimited" if value in (UNLIMITED, -1) else str(value),
    "hard": lambda value: "unlimited" if value in (UNLIMITED, -1) else str(value),
    "mask": lambda value: f"{value:04o}",
    "groups": groups,
    "program": lambda value: str(len(value) // 8),
    "domain": lambda value: {0: "LINUX", 8: "LINUX32"}.get(value, hex(value)),
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

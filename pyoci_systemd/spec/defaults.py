"""What `pyoci spec` writes: a container that starts a shell and may do little."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .types import Config, Mount, Namespace

VERSION = "1.3.0"  # of the runtime-spec; the newest we accept

CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

# what /proc and /sys tell about the machine rather than the container
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default_config(rootless: bool = False, uid: int = 0, gid: int = 0) -> Config:
    """Return a fresh default config, which the caller may change.

    No capability is inheritable or ambient: those would pass to whatever the program executes (CVE-2022-29162).
    `rootless` is for a user without privileges (`uid` and `gid`): a user namespace in which the user is root,
    the network of the host, and nothing that needs the host's root.
    """
    config: Config = {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": list(CAPABILITIES),
                "effective": list(CAPABILITIES),
                "permitted": list(CAPABILITIES),
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyoci",
        "mounts": mounts(rootless),
        "linux": {
            "namespaces": namespaces(rootless),
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }
    if rootless:
        # the one id that a user may map without the help of newuidmap
        config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    else:
        config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return config


def namespaces(rootless: bool) -> list[Namespace]:
    """Return the namespaces of the default config."""
    common: list[Namespace] = [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}]
    own: Namespace = {"type": "user"} if rootless else {"type": "network"}
    return [common[0], own, *common[1:]]


def mounts(rootless: bool) -> list[Mount]:
    """Return the mounts of the default config, in the order they are made."""
    kept = ["nosuid", "noexec", "nodev"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if not rootless:
        pts.append("gid=5")  # tty; an id that is not mapped is refused
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*kept, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": list(kept)},
        sys_mount(rootless),
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": [*kept, "relatime", "ro"],
        },
    ]


def sys_mount(rootless: bool) -> Mount:
    """Return the mount of /sys: a sysfs can only be made by the owner of the network namespace."""
    if rootless:
        options = ["rbind", "nosuid", "noexec", "nodev", "ro"]
        return {"destination": "/sys", "type": "none", "source": "/sys", "options": options}
    options = ["nosuid", "noexec", "nodev", "ro"]
    return {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": options}

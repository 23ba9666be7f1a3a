"""What the plan must know of the host and of the request: values, made elsewhere, so that planning stays pure."""

from __future__ import annotations

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Mount


class Handover(Record):
    """What the container gets besides config.json because its runtime is run by a service manager."""

    variables: list[str]
    """of the environment, as NAME=VALUE"""
    own_pid: list[str]
    """names of variables of which the value is the pid that the program sees itself as"""
    mounts: list[Mount]


class Facts(Record):
    """The host, as one probe found it."""

    uid: int
    """effective user id of the runtime"""
    gid: int
    capabilities: int
    """what the runtime itself holds, and so can give; a bit mask in the order of capability(7)"""
    in_user_namespace: bool
    """is the runtime already in a user namespace that is not the host's first one"""
    apparmor: str = ""
    """how AppArmor confines the runtime, in its words; "" when it is not enabled, or nobody asked"""
    selinux: bool = False
    """is SELinux enabled; not looked for when nobody asked"""
    links: dict[str, str] | None = None
    """sources of mounts with `copy-symlink` that are links, and where each leads"""

    @property
    def privileged(self) -> bool:
        """Is the runtime root of the first user namespace, to whom alone the kernel gives much."""
        return not self.uid and not self.in_user_namespace

    @property
    def restricts_devices(self) -> bool:
        """Can a device program be attached to a cgroup, by systemd or by us."""
        return self.privileged


class Request(Record):
    """What the caller asked for besides config.json."""

    id: str
    bundle: str
    """absolute path"""
    config_path: str = ""
    """where config.json was read, for the unit's SourcePath"""
    state_dir: str = ""
    """where the container's state is kept; also the marker by which its unit is known"""
    manager: str = "auto"
    preserve_fds: int = 0
    no_pivot: bool = False
    new_keyring: bool = True
    seccomp_receiver: str = ""
    """the socket for the listener of a seccomp filter, where the config names none"""
    properties: list[str] = []
    """what `--property` says of the scope, NAME=VALUE"""
    machine: str = ""
    """as what systemd-machined shall list it"""
    machine_annotation: bool = False
    """may an annotation say that"""
    wait_for_start: bool = True
    """create waits for `start`; run goes on at once"""
    attended: bool = False
    """does the runtime stay until the container's end, and pass on what it is told by whoever stops it"""
    handover: Handover | None = None
    credentials: dict[str, int] | None = None
    """those that the container is to have, by name, and how many bytes each has"""


class Door(Record):
    """How a container that is there is entered."""

    namespaces: int
    """CLONE_* of those of its first process that are not the runtime's own"""
    cgroup: str
    """the directory of the cgroup to be born in, "" to stay in the runtime's own"""
    unprivileged: bool = False
    """is the runtime nobody who may enter one of them but by the user namespace"""
    waits: bool = False
    """shall who goes there wait until systemd has moved it into a cgroup"""

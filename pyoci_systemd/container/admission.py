"""What the host, rather than the config, does not allow: looked at before the first side effect."""

from __future__ import annotations

import posix

from ..cgroup import tree
from ..cgroup.events import event
from ..errors import Error, because
from ..plan import namespaces
from ..spec import sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..spec.types import Config

NAMESPACE_FILES = {"network": "net", "ipc": "ipc", "uts": "uts", "user": "user"}
MAX_PRESERVED = 1 << 16


def cgroup(path: str) -> None:
    """Refuse a cgroup of our own making in which somebody lives, or nobody would: it is frozen (runtime-spec: CG1)."""
    if not path:
        return
    if event(path, "populated"):
        # they would be killed with the container
        raise Error(f"cgroup `{path}` is in use")
    if culprit := tree.frozen(path):
        raise Error(f"cgroup `{culprit}` is frozen", hint="write 0 to its cgroup.freeze, or `resume` whose it is")


def sysctls(config: Config) -> None:
    """Refuse to set the host's own parameters by way of a namespace that is joined and is the host's."""
    for key in config.get("linux", {}).get("sysctl", {}):
        kind = sysctl.namespace(sysctl.parts(key))
        path = namespaces.wanted(config).get(kind or "")
        own = f"/proc/self/ns/{NAMESPACE_FILES.get(kind or '', '')}"
        try:
            if path and posix.stat(path).st_ino == posix.stat(own).st_ino:
                said = f"`{key}` is of the {kind} namespace, which is the host's own"
                raise Error(f"config.json: linux.sysctl: {said}")
        except OSError as error:
            raise because(f"{kind} namespace `{path}`", error) from None


def machine(made: Plan) -> None:
    """Refuse what systemd-machined shall list, and would not."""
    if made.machine:
        from . import machine as listed  # few are to be listed

        listed.check(made)


def rootfs(path: str) -> None:
    """Refuse a root filesystem that is not there, or no directory."""
    try:
        directory = posix.stat(path).st_mode & 0o170000 == 0o040000
    except OSError as error:
        raise because(f"root filesystem `{path}`", error) from None
    if not directory:
        raise Error(f"root filesystem `{path}`: Not a directory")


def descriptors(count: int) -> None:
    """Refuse to preserve more descriptors than anybody has."""
    if count > MAX_PRESERVED:
        raise Error(f"--preserve-fds: more than {MAX_PRESERVED} file descriptors")

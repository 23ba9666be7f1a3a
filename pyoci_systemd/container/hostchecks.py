"""What the runtime needs of a machine, looked at for `doctor`: each thing with the command that mends it."""

from __future__ import annotations

import errno
import os
from time import monotonic

from .. import kernelfs, sitepath
from ..cgroup import tree
from ..errors import BusError, Error
from ..settings import is_rootless
from ..systemd import machined, manager
from . import scope
from .finding import BAD, GOOD, NOTE, Finding, controllers
from .machine import OF_USERS, REMEDY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# system calls that have no name in the library of Python: number, the kernel that brought it, who needs it. Above 423
# they have one number everywhere; called with nothing, they fail for another reason than that they are not there.
CALLS = {
    "open_tree": (428, "5.2"),
    "move_mount": (429, "5.2"),
    "fsopen": (430, "5.2"),
    "pidfd_open": (434, "5.3"),
    "clone3": (435, "5.3"),
    "close_range": (436, "5.9"),
    "openat2": (437, "5.6"),
    "mount_setattr": (442, "5.12"),
}
OLDEST_SYSTEMD = 252
PATIENCE = 10.0  # seconds for systemd to answer
PACKAGES = {
    "click": ("python3-click", "help and completion"),
    "jsonschema": ("python3-jsonschema", "the exact place of a mistake in config.json"),
    "pystemd": ("python3-pystemd", "`verify`, and a look at systemd here"),
    "prctl": ("python3-prctl", "collecting the orphans of a container without a pid namespace"),
}


def findings() -> Iterator[Finding]:
    """Yield what there is to say of this machine, for whoever we are."""
    yield kernel()
    yield cgroups()
    yield bus()
    yield systemd()
    if is_rootless():
        from . import userchecks

        yield from userchecks.findings()
    yield machines()
    yield devices()
    yield security_module()
    yield seccomp()
    yield from packages()
    yield archive()


def kernel() -> Finding:
    """Look for the system calls without which no container is made."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    missing = []
    for name, (number, _) in CALLS.items():
        libc.syscall(ctypes.c_long(number), ctypes.c_long(-1), 0, 0, 0, 0)
        if ctypes.get_errno() == errno.ENOSYS:
            missing.append(name)
    release = os.uname().release
    if not missing:
        return Finding("kernel", GOOD, f"{release}: {' '.join(CALLS)}")
    newest = max((CALLS[name][1] for name in missing), key=lambda text: [int(part) for part in text.split(".")])
    return Finding("kernel", BAD, f"{release} has no {', '.join(missing)}", f"boot Linux {newest} or newer")


def cgroups() -> Finding:
    """Look for a unified hierarchy and the controllers of the whole machine."""
    try:
        tree.require_unified()
        have = kernelfs.read(f"{tree.ROOT}/cgroup.controllers").split()
    except (Error, OSError) as error:
        mend = getattr(error, "hint", "")
        return Finding("cgroups", BAD, getattr(error, "message", str(error)), mend)
    return controllers("cgroups", have, "a kernel, or a kernel command line, that has them")


def bus() -> Finding:
    """Connect as a container's creation does."""
    try:
        scope.connect().close()
    except Error as error:
        return Finding("bus", BAD, error.message, error.hint)
    return Finding("bus", GOOD, "the user's own" if is_rootless() else "the system's")


def systemd() -> Finding:
    """Ask systemd who it is, and name what this version lacks."""
    from ..plan.scopetable import ANYONE
    from ..systemd.inspection import introduce

    try:
        said = introduce(monotonic() + PATIENCE, is_rootless())
        version = manager.major(said.version)
    except BusError as error:
        return Finding("systemd", BAD, error.message)
    except Error as error:
        return Finding("systemd", NOTE, error.message, error.hint)
    if version < OLDEST_SYSTEMD:
        return Finding("systemd", BAD, said.version, f"systemd {OLDEST_SYSTEMD} or newer is needed")
    newer = ", ".join(f"{name} ({kind.since})" for name, kind in ANYONE.items() if kind.since > version)
    parts = [said.version, f"without {newer}" if newer else "", f"tainted: {said.tainted}" if said.tainted else ""]
    return Finding("systemd", GOOD, "; ".join(part for part in parts if part))


def machines() -> Finding:
    """Look for who lists containers as machines, where somebody asks for that."""
    try:
        with scope.connect() as bus:
            there = machined.is_there(bus, deadline=monotonic() + PATIENCE)
    except Error as error:
        return Finding("machined", NOTE, f"not looked for: {error.message}")
    if there:
        return Finding("machined", GOOD, "lists containers that are made with `--machine`, and no others")
    if is_rootless():
        return Finding("machined", NOTE, f"none of the user's, for `--machine`: {OF_USERS}")
    return Finding("machined", NOTE, "none, which is for `--machine`", REMEDY)


def devices() -> Finding:
    """Who enforces rules about devices."""
    if is_rootless():
        return Finding("devices", NOTE, "nobody restricts those of a user's containers: only root may")
    return Finding("devices", GOOD, "restricted by systemd, and by a program of ours where it has no words for a rule")


def security_module() -> Finding:
    """Which module confines what asks for a profile or a label."""
    try:
        modules = kernelfs.read("/sys/kernel/security/lsm").strip().split(",")
    except OSError:
        modules = []
    major = [name for name in modules if name in ("apparmor", "selinux")]
    if major:
        return Finding("security", GOOD, f"{' and '.join(major)} confine what asks for it")
    found = "neither AppArmor nor SELinux: profiles and labels are refused"
    return Finding("security", NOTE, found, "apt install apparmor, or boot with `lsm=`")


def seccomp() -> Finding:
    """Look for libseccomp, which compiles a profile once."""
    from .compiler import library

    try:
        library()
    except Error as error:
        return Finding("seccomp", BAD, error.message, "apt install libseccomp2")
    return Finding("seccomp", GOOD, "libseccomp compiles profiles")


def packages() -> Iterator[Finding]:
    """Look for the Python packages of the cold paths."""
    import importlib.util

    sitepath.enable()
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    for name in missing:
        package, use = PACKAGES[name]
        yield Finding("packages", NOTE, f"`{name}` is missing, which is for {use}", f"apt install {package}")
    if not missing:
        yield Finding("packages", GOOD, " ".join(PACKAGES))


def archive() -> Finding:
    """Are the hot verbs started from one file of byte code."""
    import sys

    if getattr(sys.modules["__main__"], "SEGMENTS", None):
        return Finding("start", GOOD, "from one file of byte code")
    found = "from single files: each command takes some 5 ms longer"
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return Finding("start", NOTE, found, f"as root: cd {home} && python3 -m pyoci_systemd.archive")

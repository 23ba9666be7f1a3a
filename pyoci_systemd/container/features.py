"""`pyoci features`: what this runtime supports (runtime-spec features.md, features-linux.md).

Only what is true is here. What a room of the plan knows is asked of that room, so the two cannot disagree.
A missing member would mean "not known", an empty one means "none" (FT1).
"""

from __future__ import annotations

import sys

from .. import __version__, jsonio
from ..errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from typing import Any

    from ..settings import Options, Settings

SET_MODE_FILTER, EFAULT = 1, 14

SPEC_VERSION = "1.3.0"
OLDEST_SPEC_VERSION = "1.0.0"

# words of the version line, as the other runtimes write them
BUILT_WITH = ("SYSTEMD", "SELINUX", "APPARMOR", "CAP", "SECCOMP", "EBPF")

# what a caller must not take from someone it does not trust: these annotations of a config reach systemd, or files and
# sockets of the host's; a name with a dot at its end stands for all that begin with it
UNSAFE_ANNOTATIONS = ("org.pyoci.fdstore", "org.pyoci.machine", "org.systemd.property.", "run.oci.")


def main(settings: Settings, options: Options) -> int:
    """Print the features document."""
    sys.stdout.write(jsonio.dumps(document(), indent=2) + "\n")
    return 0


def document() -> dict[str, Any]:
    """Return the features document."""
    from ..plan.hooks import KINDS
    from ..plan.mounts import OPTIONS
    from ..plan.words import CAPABILITIES, CLONE, MEMORY_FLAGS, MEMORY_MODES

    return {
        "ociVersionMin": OLDEST_SPEC_VERSION,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(KINDS),
        "mountOptions": sorted(OPTIONS),
        "linux": {
            "namespaces": sorted(CLONE),
            "capabilities": sorted(CAPABILITIES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": "idmap" in OPTIONS}},
            "netDevices": {"enabled": True},
        },
        "annotations": remarks(),
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def remarks() -> dict[str, str]:
    """Return what else there is to say, as strings by name."""
    known = {
        "org.pyoci.version": __version__,
        "org.pyoci.commit": commit(),
        "io.github.seccomp.libseccomp.version": libseccomp_version(),
    }
    return {name: value for name, value in known.items() if value}


def commit() -> str:
    """Return the commit this was built from, as the build leaves it in build.py; "" in a checkout."""
    name = f"{__package__.rpartition('.')[0]}.build"
    try:
        __import__(name)
    except ModuleNotFoundError:
        return ""
    return str(sys.modules[name].COMMIT)


def libseccomp() -> ctypes.CDLL | None:
    """Return libseccomp, None when it is not installed: a config with a filter is then refused."""
    from .compiler import library

    try:
        return library()
    except Error:
        return None


def libseccomp_version() -> str:
    """Return the version of libseccomp (seccomp_version(3)), "" without it."""
    import ctypes

    library = libseccomp()
    if library is None:
        return ""
    library.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return ".".join(map(str, library.seccomp_version().contents))


def seccomp() -> dict[str, Any]:
    """Return what a filter may say: features-linux.md, seccomp."""
    from ..plan.seccomp import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS

    library = libseccomp()
    if library is None:
        return {"enabled": False}
    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(ARCHITECTURES),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(name for name, bits in FLAGS.items() if supports(library, bits)),
    }


def supports(library: ctypes.CDLL, bits: int) -> bool:
    """Does this kernel know these flags of seccomp(2). Asked with a program that is nowhere: it looks at them first."""
    import ctypes

    from ..plan.seccomp import WAIT_KILLABLE_RECV
    from ..plan.words import NEW_LISTENER

    if bits & WAIT_KILLABLE_RECV:
        bits |= NEW_LISTENER
    call = ctypes.CDLL(None, use_errno=True).syscall
    call(library.seccomp_syscall_resolve_name(b"seccomp"), SET_MODE_FILTER, bits, None)
    return ctypes.get_errno() == EFAULT

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

SPEC_VERSION = "1.3.0"
OLDEST_SPEC_VERSION = "1.0.0"

# words of the version line, as the other runtimes write them
BUILT_WITH = ("SYSTEMD", "CAP", "SECCOMP")

NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")

# what the schema accepts; libseccomp has the last word on each
SECCOMP_ARCHITECTURES = """
    X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X
    PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB""".split()

# kinds of hooks that run; empty while none does (HK9)
HOOKS: tuple[str, ...] = ()

# what a caller must not take from someone it does not trust, as these annotations of a config reach systemd;
# a name with a dot at its end stands for all that begin with it
UNSAFE_ANNOTATIONS = ("org.systemd.property.",)


def main(settings: Settings, options: Options) -> int:
    """Print the features document."""
    sys.stdout.write(jsonio.dumps(document(), indent=2) + "\n")
    return 0


def document() -> dict[str, Any]:
    """Return the features document."""
    from ..plan.mounts import OPTIONS
    from ..plan.words import CAPABILITIES

    return {
        "ociVersionMin": OLDEST_SPEC_VERSION,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(OPTIONS),
        "linux": {
            "namespaces": list(NAMESPACES),
            "capabilities": sorted(CAPABILITIES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": False, "rdma": False},
            "seccomp": seccomp(),
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False, "schemata": False, "monitoring": False},
            "memoryPolicy": {"modes": [], "flags": []},
            "mountExtensions": {"idmap": {"enabled": False}},
            "netDevices": {"enabled": False},
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
    from ..plan.seccomp import ACTIONS, FLAGS, OPERATORS

    library = libseccomp()
    if library is None:
        return {"enabled": False}
    resolve = library.seccomp_arch_resolve_name
    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": [f"SCMP_ARCH_{name}" for name in SECCOMP_ARCHITECTURES if resolve(name.lower().encode())],
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(FLAGS),
    }

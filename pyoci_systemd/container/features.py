"""`pyoci features`: what this runtime supports (runtime-spec features.md, features-linux.md).

Only what is true is here. What a room of the plan knows is asked of that room, so the two cannot disagree;
a member that is missing means "not known", an empty one "none" (FT1).
"""

from __future__ import annotations

import sys

from .. import __version__, jsonio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..settings import Options, Settings

SPEC_VERSION = "1.3.0"
OLDEST_SPEC_VERSION = "1.0.0"

# words of the version line, as the other runtimes write them
BUILT_WITH = ("SYSTEMD", "CAP")

NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "user", "uts")

# kinds of hooks that run; empty while none does (HK9)
HOOKS: tuple[str, ...] = ()

# the plan's own tables: path in the document, module of plan/, name in it (any iterable of strings)
PLANNED = (
    (("mountOptions",), "mounts", "OPTIONS"),
    (("linux", "capabilities"), "words", "CAPABILITIES"),
    (("linux", "seccomp", "actions"), "seccomp", "ACTIONS"),
    (("linux", "seccomp", "operators"), "seccomp", "OPERATORS"),
    (("linux", "seccomp", "archs"), "seccomp", "ARCHITECTURES"),
    (("linux", "seccomp", "knownFlags"), "seccomp", "KNOWN_FLAGS"),
    (("linux", "seccomp", "supportedFlags"), "seccomp", "SUPPORTED_FLAGS"),
)

# what a caller must not take from someone it does not trust, as these annotations of a config reach systemd;
# a name with a dot at its end stands for all that begin with it
UNSAFE_ANNOTATIONS = ("org.systemd.property.",)


def main(settings: Settings, options: Options) -> int:
    """Print the features document."""
    sys.stdout.write(jsonio.dumps(document(), indent=2) + "\n")
    return 0


def document() -> dict[str, Any]:
    """Return the features document."""
    features: dict[str, Any] = {
        "ociVersionMin": OLDEST_SPEC_VERSION,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "linux": {
            "namespaces": list(NAMESPACES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": False, "rdma": False},
            "seccomp": {"enabled": False},
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False, "schemata": False, "monitoring": False},
            "memoryPolicy": {"modes": [], "flags": []},
            "mountExtensions": {"idmap": {"enabled": False}},
            "netDevices": {"enabled": False},
        },
        "annotations": {"org.pyoci.version": __version__},
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }
    for path, module, name in PLANNED:
        words = planned(module, name)
        if words is not None:
            put(features, path, words)
    seccomp = features["linux"]["seccomp"]
    seccomp["enabled"] = "actions" in seccomp
    return features


def planned(module: str, name: str) -> list[str] | None:
    """Return the words a module of plan/ says it knows, sorted; None when there is no such module or table."""
    qualified = f"{__package__.rpartition('.')[0]}.plan.{module}"
    try:
        __import__(qualified)
    except ModuleNotFoundError as error:
        if error.name != qualified:
            raise
        return None
    words = getattr(sys.modules[qualified], name, None)
    return None if words is None else sorted(words)


def put(document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Set a member deep in a document, making what is missing on the way."""
    for key in path[:-1]:
        document = document.setdefault(key, {})
    document[path[-1]] = value

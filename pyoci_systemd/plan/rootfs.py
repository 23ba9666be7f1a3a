"""The root filesystem: from the first look at it to the change of root."""

from __future__ import annotations

from . import devices, mounts, namespaces, ops
from .facts import Facts, Request
from .words import PROPAGATION, RECURSIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config

SCOPE_GATE, STATE_GATE = 0, 1


def root_path(config: Config, bundle: str) -> str:
    """Return root.path as an absolute path."""
    path = config["root"]["path"]
    return path if path[:1] == "/" else f"{bundle}/{path}"


def plan(config: Config, facts: Facts, request: Request) -> list[ops.Op]:
    """Return the ops from the private procfs to the change of root.

    The order is the security argument:
    the private procfs comes before the rootfs is touched, so no image can stand between us and /proc;
    devices and links come after the mounts, for they live on the container's own /dev;
    masked and read-only paths come after everything that could cover them;
    the read-only root comes after everything that makes a mountpoint.
    """
    linux = config.get("linux", {})
    propagation = _propagation(config)
    outside = PROPAGATION["private"] if propagation & PROPAGATION["private"] else PROPAGATION["slave"]
    asks_more = propagation & ~RECURSIVE not in (PROPAGATION["slave"], PROPAGATION["private"])
    user_namespace = "user" in namespaces.wanted(config) or facts.in_user_namespace
    own_root = bool(config["root"].get("readonly"))
    return [
        ops.PrivateProc(),
        *([ops.Loopback()] if namespaces.is_new(config, "network") else []),
        ops.Propagation(RECURSIVE | outside),
        ops.Rootfs(root_path(config, request.bundle)),
        *_mounts_and_gate(config, request),
        *devices.plan(config, can_make_nodes=not user_namespace),
        *_console(config),
        *(ops.ReadOnly(path) for path in linux.get("readonlyPaths") or ()),
        *(ops.Mask(path) for path in linux.get("maskedPaths") or ()),
        *([ops.ReadOnlyRoot()] if own_root else []),
        ops.ChangeRoot() if request.no_pivot else ops.PivotRoot(),
        *([ops.Propagation(propagation)] if asks_more else []),
    ]


def _propagation(config: Config) -> int:
    word = config.get("linux", {}).get("rootfsPropagation") or "rslave"
    recursive = word[0] == "r"
    return PROPAGATION[word[1:] if recursive else word] | (RECURSIVE if recursive else 0)


def _mounts_and_gate(config: Config, request: Request) -> list[ops.Op]:
    """Return the mounts with the wait for the scope as late as can be: PID 1 works meanwhile."""
    listed = mounts.plan(config, request.bundle)
    gate: list[ops.Op] = [ops.Await(SCOPE_GATE)]
    if namespaces.is_new(config, "cgroup"):
        gate.append(ops.NewCgroupNamespace())
    first = next((i for i, op in enumerate(listed) if mounts.shows_cgroups(op)), len(listed))
    return listed[:first] + gate + listed[first:]


def _console(config: Config) -> list[ops.Op]:
    process = config.get("process", {})
    if not process.get("terminal"):
        return []
    size = process.get("consoleSize", {})
    return [ops.Console(size.get("width", 0), size.get("height", 0))]

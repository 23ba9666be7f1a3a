"""The root filesystem: from the first look at it to the change of root."""

from __future__ import annotations

from . import console, devices, hidden, hooks, labels, mounts, namespaces, ops
from .facts import Facts, Request
from .words import HOOKS_GATE, NETWORK_GATE, PROPAGATION, RECURSIVE, SCOPE_GATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config
    from .handles import Handles


def root_path(config: Config, bundle: str) -> str:
    """Return root.path as an absolute path."""
    path = config["root"]["path"]
    return path if path[:1] == "/" else f"{bundle}/{path}"


def plan(config: Config, facts: Facts, request: Request, handles: Handles) -> list[ops.Op]:
    """Return the ops from the private procfs to the change of root.

    The order is the security argument:
    the private procfs comes before the rootfs is touched, so no image can stand between us and /proc;
    devices and links come after the mounts, for they live on the container's own /dev;
    hooks come when all is there, for they look at it and add to it;
    masked and read-only paths come after everything that could cover them;
    a tmpfs and the root become read-only after everything that makes a mountpoint;
    credentials come after the mounts of the config, none of which may cover them.
    """
    propagation = root_propagation(config)
    asks_more = propagation & ~RECURSIVE not in (PROPAGATION["slave"], PROPAGATION["private"])
    user_namespace = "user" in namespaces.wanted(config) or facts.in_user_namespace
    cwd = config["process"]["cwd"] if "process" in config else "/"
    own_root = bool(config["root"].get("readonly"))
    listed = mounts.plan(config, facts, request.bundle, propagation, handles)
    listed = labels.label_mounts(listed, config, facts)
    nodes = devices.plan(config, handles, can_make_nodes=not user_namespace)
    handed: list[ops.Op] = []
    if request.credentials is not None:
        from . import secrets  # for who has any

        handed = secrets.plan(config, facts, request.credentials, handles.take_inside())
    closing = mounts.leave_open([*listed, *handed])
    return [
        ops.PrivateProc(),
        *([ops.Loopback()] if namespaces.is_new(config, "network") else []),
        ops.Propagation(RECURSIVE | mounts.outside(propagation)),
        ops.Rootfs(root_path(config, request.bundle)),
        *_gate_among(listed, config),
        *handed,
        *nodes,
        *(console.plan(config["process"], bind=True) if "process" in config else []),
        *_gate_of_hooks(config, facts),
        *([ops.WorkingDirectory(cwd)] if cwd != "/" else []),
        *closing,
        *hidden.plan(config, facts),
        *([ops.ReadOnlyRoot()] if own_root else []),
        ops.ChangeRoot() if request.no_pivot else ops.PivotRoot(),
        *([ops.Propagation(propagation)] if asks_more else []),
    ]


def _gate_of_hooks(config: Config, facts: Facts) -> list[ops.Op]:
    """Return the wait for hooks. Those of a user's that run inside enter by way of what the user may look into."""
    kinds = hooks.kinds(config)
    gate: list[ops.Op] = [ops.Await(HOOKS_GATE)] if any(kind in hooks.BEFORE_PIVOT for kind in kinds) else []
    return [ops.Dumpable(1), *gate, ops.Dumpable(0)] if facts.uid and hooks.INSIDE in kinds else gate


def root_propagation(config: Config) -> int:
    """Return linux.rootfsPropagation as flags of mount(2)."""
    word = config.get("linux", {}).get("rootfsPropagation") or "rslave"
    recursive = word[0] == "r"
    return PROPAGATION[word[1:] if recursive else word] | (RECURSIVE if recursive else 0)


def _gate_among(listed: list[ops.Op], config: Config) -> list[ops.Op]:
    """Return the mounts with the wait for the scope as late as can be: PID 1 works meanwhile."""
    gate: list[ops.Op] = [ops.Await(SCOPE_GATE)]
    if config.get("linux", {}).get("netDevices"):
        # before hooks look for them and parameters of the kernel's are set for them
        gate += [ops.RouteSocket(), ops.Await(NETWORK_GATE)]
    if namespaces.is_new(config, "cgroup"):
        gate.append(ops.NewCgroupNamespace())
    first = next((i for i, op in enumerate(listed) if mounts.shows_cgroups(op)), len(listed))
    return listed[:first] + gate + listed[first:]

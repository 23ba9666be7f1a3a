"""Device nodes and the links of /dev."""

from __future__ import annotations

from . import ops
from .words import CLONE_TREE, PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config
    from .handles import Handles

CHARACTER, BLOCK, FIFO = 0o020000, 0o060000, 0o010000
TYPES = {"c": CHARACTER, "u": CHARACTER, "b": BLOCK, "p": FIFO}

# config-linux, "Default Devices"
DEFAULTS = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)

# runtime-linux, "Dev symbolic links", and the multiplexer of the container's own devpts
LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
    ("pts/ptmx", "/dev/ptmx"),
)


def plan(config: Config, handles: Handles, can_make_nodes: bool) -> list[ops.Op]:
    """Return the ops of the default devices, the config's own, and the links.

    `can_make_nodes`: mknod(2) is denied in a user namespace; the host's node is bound instead.
    """
    asked = config.get("linux", {}).get("devices") or ()
    wanted = {path: (path, CHARACTER | 0o666, major, minor, 0, 0) for path, major, minor in DEFAULTS}
    for device in asked:
        mode = TYPES[device["type"]] | device.get("fileMode", 0o666) & 0o7777
        numbers = device.get("major", 0), device.get("minor", 0)
        wanted[device["path"]] = (device["path"], mode, *numbers, device.get("uid", 0), device.get("gid", 0))
    nodes: list[ops.Op] = []
    for node in wanted.values():
        if can_make_nodes or node[1] & FIFO == node[1] & 0o170000:
            nodes.append(ops.Mknod(*node))
        else:
            path, mode, major, minor = node[:4]
            handles.devices.append((path, mode & 0o170000, major, minor))
            handles.sources.append(ops.Tree(path, path, CLONE_TREE, PROPAGATION["private"]))
            nodes.append(ops.Bind(path, path, 0, handles.take(), 0, 0, 0, 0, 0, 0))
    return nodes + [ops.Symlink(target, path, 0) for target, path in LINKS]

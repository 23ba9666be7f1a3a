"""linux.readonlyPaths and linux.maskedPaths."""

from __future__ import annotations

from . import labels, ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Mount
    from .facts import Facts

# filesystems whose files are hidden for safety, as statfs(2) knows them
MAGIC = {"proc": 0x9FA0, "sysfs": 0x62656572}


def plan(config: Config, facts: Facts) -> list[ops.Op]:
    """Return the ops of all of them. A read-only tree is cloned, so masks come last: it would carry them along."""
    linux = config.get("linux", {})
    label = labels.option(config, facts)
    return [
        *(ops.ReadOnly(path, *_within(path, config)) for path in linux.get("readonlyPaths") or ()),
        *(ops.Mask(path, *_within(path, config), label) for path in linux.get("maskedPaths") or ()),
    ]


def _within(path: str, config: Config) -> tuple[str, int]:
    """Return the mountpoint of the proc or sysfs that holds `path`, and the kind of it; ("", 0) for other paths.

    A name that leads past it, because somebody exchanges names of the rootfs meanwhile, would leave it unmasked.
    """
    kinds = {"/" + mount["destination"].strip("/"): _magic(mount) for mount in config.get("mounts") or ()}
    return next(((base, kind) for base, kind in kinds.items() if kind and path.startswith(base + "/")), ("", 0))


def _magic(mount: Mount) -> int:
    bound = {"bind", "rbind"} & {*(mount.get("options") or ())}
    return 0 if bound else MAGIC.get(mount.get("type") or "", 0)

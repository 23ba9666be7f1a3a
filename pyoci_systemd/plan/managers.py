"""Who keeps the container's cgroup."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config


def manager(config: Config, asked: str) -> str:
    """Return the manager that keeps the container's cgroup: `systemd`, `cgroupfs`, `split` or `disabled`.

    `auto`: a scope, unless cgroupsPath is a plain path, as clients write that drive cgroupfs themselves.
    """
    if asked != "auto":
        return asked
    path = config.get("linux", {}).get("cgroupsPath") or ""
    return "systemd" if not path or ":" in path else "cgroupfs"

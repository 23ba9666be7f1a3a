"""What the tests of the plan start from: small configs, a host that may do all, a request that asks for nothing."""

from __future__ import annotations

from typing import Any

from pyoci_systemd.plan.facts import Facts, Request

ALL_CAPABILITIES = (1 << 41) - 1


def facts(**changes: Any) -> Facts:
    """Return a host where root of the first user namespace holds every capability."""
    return Facts(**{"uid": 0, "gid": 0, "capabilities": ALL_CAPABILITIES, "in_user_namespace": False, **changes})


def request(**changes: Any) -> Request:
    """Return a `create` of the container `c1` in `/b`."""
    return Request(**{"id": "c1", "bundle": "/b", "state_dir": "/run/pyoci/c1", **changes})


def config(linux: dict[str, Any] | None = None, process: dict[str, Any] | None = None, **top: Any) -> Any:
    """Return a config with a mount namespace and nothing else but what is given."""
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "env": ["HOME=/"], "user": {"uid": 0, "gid": 0}, **(process or {})},
        "linux": {"namespaces": [{"type": "mount"}], **(linux or {})},
        **top,
    }


def limited(**resources: Any) -> Any:
    """Return a config with these `linux.resources`."""
    return config(linux={"resources": resources})


def names(ops: list[Any]) -> list[str]:
    """Return the names of ops, in order."""
    return [op.name for op in ops]

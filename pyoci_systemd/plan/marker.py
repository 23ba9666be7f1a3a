"""The mark by which the runtime knows its own units. `delete` needs nothing else of the plan."""

from __future__ import annotations

# systemd.unit(5): what stands in a unit name as it is
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.")


def marker(state_dir: str) -> str:
    """Return the Documentation= entry of this container's unit, of this state root: a URI of its state directory."""
    said = [
        c if c in PLAIN or c in "/+" else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "surrogateescape"))
        for c in state_dir
    ]
    return "file:" + "".join(said)

"""Limits as systemd and as the kernel count them."""

from __future__ import annotations

INFINITY = (1 << 64) - 1


def limit(value: int) -> int:
    """Return a limit as systemd counts it: -1 is infinity."""
    return INFINITY if value < 0 else value


def number(value: int) -> str:
    """Return a limit as the kernel's files have it."""
    return "max" if value < 0 else str(value)

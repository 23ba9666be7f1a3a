"""Signals by name, as kill(1), images and systemd know them."""

from __future__ import annotations

import _signal

from .errors import Error

LAST = 64


def number(text: str) -> int:
    """Return the number of `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-1`. Raises Error."""
    name = text.upper().removeprefix("SIG")
    if name.isascii() and name.isdigit():
        value = int(name) if len(name) < 4 else 0
        if not 1 <= value <= LAST:
            raise Error(f"unknown signal `{text}`")
        return value
    for base in ("RTMIN", "RTMAX"):
        if name.startswith(base):
            return _realtime(text, base, name[len(base) :])
    value = getattr(_signal, f"SIG{name}", 0) if name.isalnum() else 0
    if not value:
        raise Error(f"unknown signal `{text}`")
    return int(value)


def _realtime(text: str, base: str, rest: str) -> int:
    sign = {"RTMIN": "+", "RTMAX": "-"}[base]
    distance = rest[1:]
    if rest and not (rest[0] == sign and distance.isascii() and distance.isdigit() and len(distance) < 3):
        raise Error(f"unknown signal `{text}`")
    step = int(distance) if rest else 0
    value = _signal.SIGRTMIN + step if base == "RTMIN" else _signal.SIGRTMAX - step
    if not _signal.SIGRTMIN <= value <= _signal.SIGRTMAX:
        raise Error(f"unknown signal `{text}`")
    return int(value)

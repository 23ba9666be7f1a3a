"""Lengths of time as Go, and so runc, writes them: 5s, 100ms, 1m30s."""

from __future__ import annotations

from ..errors import Error

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST = 1e6  # seconds: eleven days


def seconds(text: str, option: str) -> float:
    """Return a length of time, longer than nothing, in seconds. Raises Error that names the option."""
    total, rest = 0.0, text
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        unit = rest[len(digits) :]
        unit = unit[: len(unit) - len(unit.lstrip("nuµμmsh"))]
        whole, _, fraction = digits.partition(".")
        if unit not in UNITS or not (whole or fraction) or "." in fraction:
            break
        total += float(digits) * UNITS[unit]
        rest = rest[len(digits) + len(unit) :]
    if rest or not 0 < total <= LONGEST:
        raise Error(f"{option}: `{text}` is not a length of time such as 5s, 100ms or 1m30s")
    return total

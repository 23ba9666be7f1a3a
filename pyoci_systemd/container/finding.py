"""What `doctor` says of one thing."""

from __future__ import annotations

from ..record import Record

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
GOOD, NOTE, BAD = "ok", "note", "bad"


class Finding(Record):
    """One thing that was looked at."""

    subject: str
    verdict: str
    """GOOD; NOTE for what some containers will miss; BAD for what stands in the way of all"""
    found: str
    mend: str = ""
    """the command, or what else helps"""


def controllers(subject: str, have: list[str], mend: str) -> Finding:
    """Return what limits there can be with these controllers."""
    missing = [name for name in CONTROLLERS if name not in have]
    if not missing:
        return Finding(subject, GOOD, f"controllers {' '.join(have)}")
    found = f"controllers {' '.join(have) or 'none'}: no limits of {', '.join(missing)}"
    return Finding(subject, NOTE, found, mend)

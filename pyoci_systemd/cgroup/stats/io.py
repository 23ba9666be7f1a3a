"""What was read from disks and written to them. Pure."""

from __future__ import annotations

from ..keyed import nested, present
from .pressure import pressure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..keyed import Data, Text

BYTES = {"rbytes": "Read", "wbytes": "Write", "dbytes": "Discard"}
OPERATIONS = {"rios": "Read", "wios": "Write", "dios": "Discard"}


def io(text: Text) -> Data:
    """Return `blkio` of a `stats` event: bytes and operations by device. What else runc says is of cgroup v1."""
    stat = nested(text("io.stat"))
    return present({
        "ioServiceBytesRecursive": _entries(stat, BYTES),
        "ioServicedRecursive": _entries(stat, OPERATIONS),
        "psi": pressure(text("io.pressure")),
    })  # fmt: skip


def _entries(stat: dict[str, dict[str, str]], operations: dict[str, str]) -> list[Data]:
    entries: list[Data] = []
    for device, row in stat.items():
        major, colon, minor = device.partition(":")
        if colon and major.isdigit() and minor.isdigit():  # a device that has gone may have lost its name
            entries += [
                {"major": int(major), "minor": int(minor), "op": operation, "value": int(row[key])}
                for key, operation in operations.items()
                if key in row
            ]
    return entries

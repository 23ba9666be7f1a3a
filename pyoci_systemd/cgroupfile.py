"""One value for one interface file of a cgroup (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from .record import Record


class File(Record):
    """What is written where, and who asked for it."""

    name: str
    value: str
    asked: str
    """the JSON path below linux.resources"""
    instead: tuple[str, str] = ("", "")
    """the file, and its value, of kernels and devices that have not `name`"""
    above: bool = False
    """is it bounded by what the cgroup above has, where systemd does not know it: the scope must have it as well"""

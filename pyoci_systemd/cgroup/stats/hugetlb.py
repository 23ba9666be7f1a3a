"""Huge pages. Pure."""

from __future__ import annotations

from ..keyed import flat, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..keyed import Data, Text

PREFIX, SUFFIX = "hugetlb.", ".current"


def hugetlb(text: Text, names: Iterable[str]) -> Data:
    """Return `hugetlb` of a `stats` event, in bytes, by the size of the page: `2MB`. `names` are the cgroup's files."""
    data: Data = {}
    for name in sorted(names):
        size = name.removeprefix(PREFIX).removesuffix(SUFFIX)
        usage = number(text(name)) if name == f"{PREFIX}{size}{SUFFIX}" and "." not in size else None
        if usage is not None:
            data[size] = {"usage": usage, "failcnt": flat(text(f"{PREFIX}{size}.events")).get("max", 0)}
    return data

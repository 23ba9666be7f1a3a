"""The forms in which the kernel writes numbers into files of a cgroup (cgroup-v2.rst, "Format"). Pure.

A file that is not there is read as "": then there is no number either, which is not zero.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Text = Callable[[str], str]  # the text of an interface file by its name, "" when there is none
    Data = dict[str, Any]  # an object of JSON

UNLIMITED = (1 << 64) - 1
"""what stands for `max` where readers expect a number"""


def number(text: str) -> int | None:
    """Return the single value of a file."""
    word = text.strip()
    if word == "max":
        return UNLIMITED
    return int(word) if word.isdigit() else None


def flat(text: str) -> dict[str, int]:
    """Return the values of a file with `key value` on each line."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def nested(text: str) -> dict[str, dict[str, str]]:
    """Return the values of a file with `key subkey=value subkey=value` on each line."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: dict(pair.split("=", 1) for pair in row[1:] if "=" in pair) for row in rows if row}


def numbers(text: str) -> list[int]:
    """Return the numbers of a list such as `0-2,7`."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def present(data: Data) -> Data:
    """Return what is known of some data: the rest is left out."""
    return {key: value for key, value in data.items() if value is not None and value != {} and value != []}

"""Container ids."""

from __future__ import annotations

from ..errors import Error, printable

ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")
LONGEST = 200


def check(container_id: str) -> str:
    """Return the id. Raises Error for one that could be no file name and no unit name, or leads out of the root."""
    if not container_id:
        raise Error("the container id is empty")
    if container_id[0] == ".":
        raise Error(f"container id `{shown(container_id)}` must not begin with `.`")
    for character in container_id:
        if character not in ALLOWED:
            raise Error(f"container id `{shown(container_id)}` has `{shown(character)}` in it, which is not allowed")
    if len(container_id) > LONGEST:
        raise Error(f"container id `{shown(container_id)}` is longer than {LONGEST} characters")
    return container_id


def shown(text: str) -> str:
    """Return text of unknown origin so that it can stand in a message of one line."""
    return printable(text if len(text) <= 60 else text[:60] + "…")

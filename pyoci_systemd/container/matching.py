"""Containers whose ids match a regular expression."""

from __future__ import annotations

from ..errors import Error
from .store import ids


def matching(root: str, expression: str) -> list[str]:
    """Return the ids below `root` in which the expression is found, as regexec(3) would. Raises Error."""
    import re

    try:
        wanted = re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise Error(f"`{expression}` is not a regular expression: {error}") from None
    return [container_id for container_id in ids(root) if wanted.search(container_id)]

"""Processes and threads. Pure."""

from __future__ import annotations

from ..keyed import UNLIMITED, number, present

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..keyed import Data, Text


def tasks(text: Text) -> Data:
    """Return `pids` of a `stats` event; there is a `limit` only where there is one."""
    limit = number(text("pids.max"))
    return present({"current": number(text("pids.current")), "limit": None if limit == UNLIMITED else limit})

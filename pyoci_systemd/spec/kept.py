"""Our own copy of a config: judged when the container was created, and not again on every `exec` (0.5 ms)."""

from __future__ import annotations

from .. import jsonio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .types import Config


def kept(data: bytes, name: str) -> Config:
    """Return a config that has been judged before: our own copy of it. Raises SpecError when it is damaged."""
    config: Config = jsonio.loads(data, name)  # type: ignore[assignment]
    if data.count(b"null") != data.count(b"/null"):
        drop_nulls(config)
    return config


def drop_nulls(holder: Any) -> None:
    """Take away the members that are null, at every level."""
    members = holder.values() if type(holder) is dict else holder
    if type(holder) is dict and None in members:
        for key in [key for key, member in holder.items() if member is None]:
            del holder[key]
    for member in members:
        if type(member) is dict or type(member) is list:
            drop_nulls(member)

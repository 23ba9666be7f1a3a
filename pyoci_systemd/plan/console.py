"""process.terminal."""

from __future__ import annotations

from . import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Process


def plan(process: Process, bind: bool) -> list[ops.Op]:
    """Return the op that makes the terminal, if the process wants one. With `bind` it becomes /dev/console too."""
    if not process.get("terminal"):
        return []
    size = process.get("consoleSize", {})
    return [ops.Console(size.get("width", 0), size.get("height", 0), int(bind))]

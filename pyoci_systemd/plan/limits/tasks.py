"""linux.resources.pids; 0 asks for no limit (spec: a limit is positive, or negative for none)."""

from __future__ import annotations

from ...cgroupfile import File
from .numbers import limit, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...spec.types import Resources

    Property = tuple[str, str, object]


def properties(resources: Resources) -> list[Property]:
    """Return TasksMax."""
    asked = resources.get("pids", {}).get("limit")
    return [("TasksMax", "t", limit(asked))] if asked else []


def files(resources: Resources) -> list[File]:
    """Return pids.max."""
    asked = resources.get("pids", {}).get("limit")
    return [File("pids.max", number(asked), "pids.limit")] if asked else []

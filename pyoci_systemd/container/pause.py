"""`pyoci pause`: stop all processes of a container where they are."""

from __future__ import annotations

from .freezer import set_frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Pause a container. Returns the exit status; raises Error."""
    set_frozen(settings, options, True)
    return 0

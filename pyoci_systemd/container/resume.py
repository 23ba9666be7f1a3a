"""`pyoci resume`: let a paused container run on."""

from __future__ import annotations

from .freezer import set_frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Resume a container. Returns the exit status; raises Error."""
    set_frozen(settings, options, False)
    return 0

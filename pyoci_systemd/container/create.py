"""`pyoci create`: everything but the program."""

from __future__ import annotations

from .caller import reap
from .creation import Creation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Make a container that waits for `start`. Returns the exit status; raises Error."""
    creation = Creation(settings, options, wait_for_start=True)
    try:
        creation.plan()
        if options.journal in ("output", "all"):
            from . import output  # few have it looked after by us

            output.check(creation.config)
            creation.stdio = output.sockets(options.id, creation.made.unit)
        creation.build()
        creation.commit()
    finally:
        reap(settings.warm_pid)
    return 0

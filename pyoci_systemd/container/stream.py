"""Standard output of a verb that goes on: each line at once, for as long as somebody reads."""

from __future__ import annotations

import _signal
import posix
import sys
from select import POLLERR, POLLHUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from select import poll


class Hangup(Exception):
    """Nobody reads our output any more: a reason to end, and no mistake."""


def end_quietly() -> None:
    """Have an interrupt end us without a word: that is how one leaves a verb that goes on."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def say(text: str) -> None:
    """Write it. Raises Hangup, Error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # what is still to be flushed when we leave goes there
        posix.dup2(posix.open("/dev/null", posix.O_WRONLY | posix.O_CLOEXEC), 1)
        raise Hangup from None


def rest(waiting: poll, seconds: float) -> None:
    """Wait until something that is registered happens, at most so long. Raises Hangup when our reader has gone."""
    waiting.register(1, 0)
    # rounded up: a wait that ends before its time would be followed by many of no length
    ready = waiting.poll(seconds * 1000 + 1)
    if any(fd == 1 and event & (POLLERR | POLLHUP) for fd, event in ready):
        raise Hangup

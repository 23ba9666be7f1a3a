"""Signals that end us while we are at work."""

from __future__ import annotations

import _signal

from ..errors import Error

FATAL = {_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM}


def interrupted() -> None:
    """Raise Error when a signal that ends us waits: they are blocked as long as a container is half made.

    It is taken from the queue, so that what has to be done on the way back is not interrupted by it again.
    """
    heard = {number for number in FATAL if _signal.getsignal(number) != _signal.SIG_IGN}
    if signal := _signal.sigtimedwait(heard, 0):
        raise Error(f"interrupted by signal {signal.si_signo}", status=128 + signal.si_signo)

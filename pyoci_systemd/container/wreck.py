"""A container whose state is damaged: what it ran as is found by its name, as a killed create's is."""

from __future__ import annotations

import _signal
from time import monotonic

from .. import jsonio, log
from ..errors import BusError, Error
from ..plan.managers import manager as manager_of
from ..plan.marker import marker
from ..plan.properties import unit_and_slice
from ..spec.load import load
from ..systemd import manager
from . import scope
from .store import CONFIG, Container

DEADLINE = 30.0


def unit_of(container: Container) -> str:
    """Return the name of the scope by the copy of the config, by the id alone where that is damaged too."""
    try:
        config = load(jsonio.contents(f"{container.path}/{CONFIG}"))
        return unit_and_slice(config, container.id)[0] if manager_of(config, "auto") == "systemd" else ""
    except Error:
        return unit_and_slice({}, container.id)[0]  # type: ignore[typeddict-item]


def clear(container: Container) -> None:
    """Kill and clear the container's scope, if there is one and it carries our marker. Raises BusError."""
    unit, mark = unit_of(container), marker(container.absolute())
    if not unit:
        return
    deadline = monotonic() + DEADLINE
    with scope.connect() as bus:
        if not scope.is_ours(bus, unit, mark, deadline):
            return
        try:
            # systemd would ask it to stop, and wait: 90 s for a first process that does not listen
            manager.kill_unit(bus, unit, _signal.SIGKILL, deadline=deadline)
        except BusError as error:
            log.debug(f"nothing left to kill: {error}")
    scope.clear(unit, mark, lingers=True)

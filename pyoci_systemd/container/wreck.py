"""A container whose state is damaged: what is still to be read of it counts, and its scope is found by its name.

The state is one line of JSON, so of one that is torn, or has a member that says nothing, the other members are read.
"""

from __future__ import annotations

import _signal
import re
from time import monotonic

from .. import jsonio, log
from ..errors import BusError, Error
from ..plan.managers import manager as manager_of
from ..plan.marker import marker
from ..plan.properties import unit_and_slice
from ..spec.load import load
from ..systemd import manager
from . import scope
from .store import CONFIG, STATE, Container, Known, boot_id

DEADLINE = 30.0
WORD = re.compile(r'"(manager|unit|cgroup|boot_id)": ?"([^"\\]*)"')
NUMBER = re.compile(r'"(cgroup_inode|pid|start_time)": ?([0-9]{1,19})(?=[,}])')


def remembered(container: Container) -> Known:
    """Return what is known of the container all the same; its scope's name by the config where nothing else says it."""
    try:
        text = jsonio.contents(f"{container.path}/{STATE}").decode("utf-8", "replace")
    except Error:
        text = ""
    text = text.partition('"annotations"')[0]  # those are an image's to say, and all that is read here stands before
    words = dict(WORD.findall(text))
    numbers = {name: int(digits) for name, digits in NUMBER.findall(text)}
    known = Known(container.id, "", "", "", "", words.get("manager", ""), boot_id=words.get("boot_id") or boot_id())
    if numbers.get("cgroup_inode"):  # without it the cgroup may be another's by now
        known.cgroup, known.cgroup_inode = words.get("cgroup", ""), numbers["cgroup_inode"]
    if numbers.get("start_time"):  # so may the pid
        known.pid, known.start_time = numbers.get("pid", 0), numbers["start_time"]
    if known.manager in ("", "systemd"):
        known.unit = words.get("unit") or unit_of(container)
    return known


def unit_of(container: Container) -> str:
    """Return the name of the scope by the copy of the config, by the id alone where that is damaged too."""
    try:
        config = load(jsonio.contents(f"{container.path}/{CONFIG}"))
        return unit_and_slice(config, container.id)[0] if manager_of(config, "auto") == "systemd" else ""
    except Error:
        return unit_and_slice({}, container.id)[0]  # type: ignore[typeddict-item]


def clear(container: Container, unit: str) -> None:
    """Kill and clear the container's scope, if there is one and it carries our marker. Raises BusError."""
    mark = marker(container.absolute())
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

"""What a config, its unit and the cgroup files say of each limit, side by side. Pure: container/verify.py reads."""

from __future__ import annotations

from ..record import Record
from . import resources
from .limits import normal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..cgroupfile import File
    from ..spec.types import Resources
    from .limits.normal import Limits, Nodes

    Property = tuple[str, str, object]
    Place = Callable[[File], tuple[str, str]]

BY_SOMEBODY = "set by `systemctl set-property`"
NOT_IN_UNIT = "the unit has something else"
NOT_IN_SCOPE = "the scope's file has been changed"
NOT_IN_CONTAINER = "the container's file has been changed"
UNKNOWN = "this systemd does not know it"
PROGRAM = "device program"

# the name of a setting in a drop-in, where it is not the property's
SETTINGS = {
    "CPUQuota": "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodSec": "CPUQuotaPeriodUSec",
    "IODeviceLatencyTargetSec": "IODeviceLatencyTargetUSec",
}


class Row(Record):
    """One limit. A place that does not keep it says None; what nobody has limited says the kernel's default."""

    name: str
    config: str
    unit: str | None
    scope: str | None
    container: str | None
    note: str = ""

    @property
    def differs(self) -> bool:
        return any(value is not None and value != self.config for value in (self.unit, self.scope, self.container))


class Unit(Record):
    """The scope's unit."""

    values: Mapping[str, object]
    """the properties that systemd has"""
    unknown: frozenset[str]
    """those that this systemd does not know, or does not let us set"""
    changed: frozenset[str]
    """those that were set after the start: by `update`, or by somebody else"""


def changed(drop_ins: list[str]) -> frozenset[str]:
    """Return the properties that have a drop-in of their own, which SetUnitProperties writes: 50-MemoryMax.conf."""
    names = [path.rpartition("/")[2] for path in drop_ins]
    stems = [name[3:-5] for name in names if name.startswith("50-") and name.endswith(".conf")]
    return frozenset(SETTINGS.get(stem, stem) for stem in stems)


class Agreement:
    """The limits of a config, to be held against what there is."""

    def __init__(self, limits: Resources, place: Place, page: int, nodes: Nodes) -> None:
        """`place` finds the file that the container's cgroup has for a limit, and what is written there."""
        self.page, self.nodes = page, nodes
        self.told: list[Property] = resources.properties(limits)
        self.placed = [place(file) for file in resources.files(limits)]
        self.files: Limits = {}
        for name, value in self.placed:
            self.files |= normal.of_file(name, value, page)
        self.of_unit: Limits = {}
        for name, _, set_to in self.told:
            self.of_unit |= self.keys(name, set_to)

    def keys(self, name: str, value: object) -> Limits:
        """Return the limits in a property."""
        return normal.of_property(name, value, self.page, self.nodes)

    def asked(self, key: str) -> str:
        """Return what the config asks for."""
        found = self.files.get(key, self.of_unit.get(key))
        return normal.unlimited(key) if found is None else found

    def rows(self, unit: Unit | None, scope: Limits, container: Limits) -> list[Row]:
        """Return a row for each limit that is asked for, then for each that stands though nobody has asked."""
        in_unit: Limits = {}
        owner: dict[str, str] = {key: name for name, _, value in self.told for key in self.keys(name, value)}
        for property, set_to in unit.values.items() if unit else ():
            found = self.keys(property, set_to)
            in_unit |= found
            owner |= dict.fromkeys(found, property)
        told = dict.fromkeys(self.of_unit if unit else ())
        # what nobody asked for may be a default of systemd's, unless somebody has set it; a list of devices has none
        own_list = "devices" in self.of_unit
        told |= dict.fromkeys(
            key for key in in_unit
            if unit and owner[key] in unit.changed or own_list and key.startswith("device ")
        )  # fmt: skip
        files = dict.fromkeys([*self.files, *(key for key in container if container[key] != normal.unlimited(key))])
        made = []
        for key in {**dict.fromkeys(self.files), **told, **files}:
            if key == "cpu.weight" and self.asked("cpu.idle") == "1":
                continue  # the kernel has no weight for what is idle
            row = Row(key, self.asked(key), None, None, None)
            if unit and key in told:
                self._of_unit(row, unit, in_unit, scope, owner[key])
            if key in files:
                row.container = container.get(key, normal.unlimited(key))
                if row.container != row.config:
                    row.note = row.note or NOT_IN_CONTAINER
            if key in self.files or unit and key in self.of_unit or row.differs:
                made.append(row)
        return made

    def _of_unit(self, row: Row, unit: Unit, in_unit: Limits, scope: Limits, name: str) -> None:
        """Fill in what the unit says, and the files of its cgroup, which systemd writes."""
        if name in unit.unknown:
            row.note = UNKNOWN
            return
        row.unit = in_unit.get(row.name, normal.unlimited(row.name))
        if row.unit != row.config:
            row.note = BY_SOMEBODY if name in unit.changed else NOT_IN_UNIT
        file = normal.file_of(row.name)
        # a quota shorter than 1 ms is spread by systemd over a longer period
        if any(normal.file_of(key) == file for key in scope) and row.name != "cpu.max.period":
            row.scope = scope.get(row.name, normal.unlimited(row.name))
            if row.scope != row.unit:
                row.note = row.note or NOT_IN_SCOPE

    def mended(self, rows: list[Row], unit: Unit | None) -> list[Property]:
        """Return the properties by which the unit gets what it should have, in order."""
        wrong = {row.name for row in rows if row.differs and row.unit is not None and row.unit != row.config}
        wrong |= {row.name for row in rows if row.scope is not None and row.scope != row.config}
        result: list[Property] = []
        # DeviceAllow and DevicePolicy are one list: it is said as a whole, and in its order
        devices = [entry for entry in self.told if entry[0] in ("DeviceAllow", "DevicePolicy")]
        for name, value in unit.values.items() if unit else ():
            found = self.keys(name, value)
            wanted = [entry for entry in self.told if entry[0] == name]
            for entry in wanted:
                found |= self.keys(name, entry[2])
            if not wrong & found.keys() or name in ("DeviceAllow", "DevicePolicy"):
                continue
            kind, lifted = normal.LIFTED.get(name, ("", None))
            if kind == "a(st)" or not wanted and kind:
                result.append((name, kind, lifted))  # a list is added to, unless it is emptied first
            result += wanted
        if any(key == "devices" or key.startswith("device ") for key in wrong):
            result += devices or [(name, *normal.LIFTED[name]) for name in ("DeviceAllow", "DevicePolicy")]
        return result

    def written(self, keys: list[str]) -> list[tuple[str, str]]:
        """Return what is to be written into which files of a cgroup, so that these limits stand there."""
        wanted = {*keys}
        result = [entry for entry in self.placed if wanted & normal.of_file(*entry, self.page).keys()]
        for key in keys:
            if key not in self.files:
                name, _, of = key.partition(" ")
                result.append((normal.file_of(key), _lifted(key, name, of)))
        return [*dict.fromkeys(result)]


def _lifted(key: str, name: str, of: str) -> str:
    """Return what is written to lift a limit."""
    if name == "io.weight" and of:
        return f"{of} default"
    if of:
        device, _, word = of.partition(" ")
        return f"{device} {word}=max"
    return normal.unlimited(key) or "\n"  # an empty write would not reach the kernel

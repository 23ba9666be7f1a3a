"""`pyoci verify`: hold config, unit, cgroup files and device programs side by side, and set right what differs.

The config is our own copy, which `update` keeps up to date. The unit is read by pystemd: systemd/inspection.py.
"""

from __future__ import annotations

import os
import sys
from time import monotonic

from .. import jsonio, kernelfs
from ..cgroup import tree
from ..errors import Error, because, printable
from ..plan import agreement, device_filter
from ..plan.agreement import PROGRAM, Agreement, Row
from ..plan.limits import devices as device_rules
from ..plan.limits import normal
from ..plan.marker import marker
from ..settings import is_rootless
from ..spec.kept import kept
from . import identity, learned, probe, scope
from .store import CONFIG, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.limits.normal import Limits
    from ..settings import Options, Settings
    from ..spec.types import Config
    from .store import Known

DEADLINE = 10.0
HEADS = ("LIMIT", "CONFIG", "UNIT", "SCOPE", "CONTAINER", "")
ATTACHED, MISSING = "attached", "missing"


def main(settings: Settings, options: Options) -> int:
    """Print the comparison. Returns 0 when all agree, also when that is so after a repair, else 1. Raises Error."""
    container = Container(settings.root, identity.check(options.id))
    container.lock()
    if container.status() not in ("created", "running", "paused"):
        raise Error(f"cannot verify `{container.id}`: container not running")
    if not container.known.cgroup:
        raise Error(f"cannot verify `{container.id}`: it has no cgroup of its own")
    check = Check(settings, container)
    rows = check.rows()
    done: list[str] = []
    if options.repair and any(row.differs for row in rows):
        done = check.repair(rows)
        rows = check.rows()
    agree = not any(row.differs for row in rows)
    if options.json:
        sys.stdout.write(jsonio.dumps(as_json(check, rows, agree, done), 2) + "\n")
    else:
        sys.stdout.write(table(rows) + "".join(f"{printable(line)}\n" for line in done))
    return 0 if agree else 1


class Check:
    """One container, and all that is to be read of it."""

    def __init__(self, settings: Settings, container: Container) -> None:
        self.settings, self.container = settings, container
        self.known: Known = container.known
        self.config: Config = kept(jsonio.contents(f"{container.path}/{CONFIG}"), CONFIG)
        limits = self.config.get("linux", {}).get("resources", {})
        limits = device_rules.enforced(limits, probe.facts(self.config).restricts_devices)
        self.limits = limits
        place = tree.place
        self.agreement = Agreement(
            limits, lambda file: place(self.known.cgroup, file), os.sysconf("SC_PAGE_SIZE"), numbers
        )
        self.unit: agreement.Unit | None = None
        self.scope = scope.directory(self.known.cgroup, self.known.unit) if self.known.unit else ""
        self.rules = device_rules.unsaid(limits, self.known.manager)
        """those that a program of ours enforces, on the cgroup `guarded`"""
        self.guarded = self.scope or self.known.cgroup

    def rows(self) -> list[Row]:
        """Read everything, and compare. Raises Error."""
        self.unit = self._unit() if self.known.unit else None
        found = self.agreement.rows(self.unit, self._files(self.scope), self._files(self.known.cgroup))
        return [*found, *self._program()]

    def _unit(self) -> agreement.Unit:
        from ..systemd.inspection import inspect  # pystemd: where there is no unit nobody needs it

        unit, known = self.known.unit, [name for name, _, _ in self.agreement.told]
        names = dict.fromkeys([*known, *normal.NAMES])
        seen = inspect(unit, names, monotonic() + DEADLINE, is_rootless())
        if not seen.loaded or marker(self.container.absolute()) not in seen.documentation:
            raise Error(f"`{unit}` is not the scope of `{self.container.id}` any more")
        unknown = {name for name in names if name not in seen.values}
        unknown |= learned.refused(self.settings.root, seen.version) & {*names}
        return agreement.Unit(seen.values, frozenset(unknown), agreement.changed(seen.drop_ins))

    def _files(self, cgroup: str) -> Limits:
        """Return the limits in the files of a cgroup; one that is not there, or not to be read, is left out."""
        found: Limits = {}
        if not cgroup:
            return found
        wanted = dict.fromkeys([name for name, _ in self.agreement.placed] + [*normal.UNLIMITED])
        if "io.bfq.weight" in wanted:
            del wanted["io.weight"]  # the same, for another scheduler of the kernel's
        for name in wanted:
            try:
                found |= normal.of_file(name, kernelfs.read(f"{cgroup}/{name}"), self.agreement.page)
            except OSError:
                continue
        return found

    def _program(self) -> list[Row]:
        """Return the row that says whether devices are restricted in truth, where they are to be. Raises Error."""
        strict = any(entry[0] == "DevicePolicy" and entry[2] != "auto" for entry in self.agreement.told)
        if not self.limits.get("devices"):
            return []
        from ..cgroup import bpf  # 6 ms of ctypes

        row = Row(PROGRAM, ATTACHED, None, None, None)
        seen = bpf.seen(self.guarded)
        # no more than the one: what a killed `update` has left denies what it denied
        ours = [tag for own, tag in seen if own]
        if not (self.rules or ours or (self.unit and strict)):
            return []
        by_us = len(ours) == 1 and ours[0] in bpf.tags(self._filter()) if self.rules else not ours
        by_systemd = not (self.unit and strict) or any(not own for own, _ in seen)
        state = ATTACHED if by_us and by_systemd else MISSING
        row.scope, row.container = (state, None) if self.unit else (None, state)
        row.note = "nothing enforces a rule about devices" if row.differs else ""
        return [row]

    def _filter(self) -> bytes:
        return device_filter.program(self.rules)

    # -- the repair

    def repair(self, rows: list[Row]) -> list[str]:
        """Set right what differs. Returns what was done, in sentences; raises Error."""
        done = []
        mended = self.agreement.mended(rows, self.unit)
        if mended:
            with scope.connect() as bus:
                mended = scope.change(bus, self.known.unit, mended, monotonic() + DEADLINE)
            done += [f"set {name} of `{self.known.unit}`" for name in dict.fromkeys(name for name, _, _ in mended)]
        done += self._write(self.scope, {row.name: row for row in self.rows() if wrong(row.scope, row)})
        done += self._write(self.known.cgroup, {row.name: row for row in rows if wrong(row.container, row)})
        return done

    def _write(self, cgroup: str, rows: dict[str, Row]) -> list[str]:
        """Write the files of a cgroup that still differ."""
        done = []
        if rows.pop(PROGRAM, None) and cgroup == self.guarded:
            from . import devices

            devices.change(self.known, self.limits, lambda: None)
            done.append(f"exchanged the device program of `{cgroup}`")
        for name, value in self.agreement.written(list(rows)):
            try:
                kernelfs.write(f"{cgroup}/{name}", value)
            except OSError as error:
                raise because(f"cannot write `{value}` to `{cgroup}/{name}`", error) from None
            done.append(f"wrote `{value}` to `{cgroup}/{name}`")
        return done


def wrong(value: str | None, row: Row) -> bool:
    """Does one place of a row differ from the config."""
    return value is not None and value != row.config


def numbers(path: str) -> str:
    """Return the device at a path as `char 1:3`, "" when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    kind = {0o020000: "char", 0o060000: "block"}.get(found.st_mode & 0o170000)
    return f"{kind} {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if kind else ""


# -- what is shown


def folded(rows: list[Row]) -> list[Row]:
    """Return the rows with the devices that all agree about in one."""
    alike = [row for row in rows if row.name.startswith("device ") and row.name != PROGRAM and not row.differs]
    if len(alike) < 2:
        return rows
    number = f"{len(alike)} rules"
    one = Row("device …", number, number, None, None)
    at = rows.index(alike[0])
    return [*rows[:at], one, *(row for row in rows[at:] if not any(row is other for other in alike))]


def table(rows: list[Row]) -> str:
    """Return the comparison as a table, each column as wide as its widest entry."""
    lines = [HEADS]
    for row in folded(rows):
        cells = (row.name, row.config, row.unit, row.scope, row.container)
        said = [printable("" if cell is None else cell or "-") for cell in cells]
        lines.append((*said, f"{'≠ ' if row.differs else ''}{row.note}"))  # type: ignore[arg-type]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() + "\n" for line in lines)


def as_json(check: Check, rows: list[Row], agree: bool, done: list[str]) -> dict[str, object]:
    """Return the comparison as data."""
    return {
        "id": check.container.id,
        "unit": check.known.unit or None,
        "agree": agree,
        "limits": [{**{field: getattr(row, field) for field in row.fields}, "differs": row.differs} for row in rows],
        "repaired": done,
    }

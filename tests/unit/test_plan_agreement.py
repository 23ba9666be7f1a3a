"""Config, unit and files side by side: what differs, who did it, and what sets it right."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.cgroupfile import File
from pyoci_systemd.plan import agreement
from pyoci_systemd.plan.agreement import Agreement, Row, Unit
from pyoci_systemd.plan.limits.numbers import INFINITY

M = 1 << 20
LIMITS: Any = {
    "memory": {"limit": 64 * M, "swap": 64 * M},
    "cpu": {"quota": 33333, "period": 100000},
    "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": M}]},
}
VALUES: dict[str, Any] = {
    "MemoryMax": 64 * M,
    "MemorySwapMax": 0,
    "MemoryHigh": INFINITY,
    "CPUQuotaPerSecUSec": 340_000,
    "CPUQuotaPeriodUSec": 100_000,
    "IOReadBandwidthMax": [("/dev/block/8:0", M)],
    "TasksMax": 4915,  # systemd's default: nobody asked
}
SCOPE = {"memory.max": f"{64 * M}", "memory.swap.max": "0", "cpu.max": "34%", "io.max 8:0 rbps": f"{M}"}
OWN = {**SCOPE, "cpu.max.period": "100000", "pids.max": "max"}


def made(limits: Any) -> Agreement:
    def place(file: File) -> tuple[str, str]:
        return file.name, file.value

    return Agreement(limits, place, 4096, lambda path: "")


def unit(changed: Any = (), unknown: Any = (), **values: Any) -> Unit:
    return Unit({**VALUES, **values}, frozenset(unknown), frozenset(changed))


def differing(rows: list[Row]) -> dict[str, tuple[Any, ...]]:
    return {row.name: (row.config, row.unit, row.scope, row.container, row.note) for row in rows if row.differs}


def test_all_agree() -> None:
    rows = made(LIMITS).rows(unit(), SCOPE, OWN)
    assert differing(rows) == {}
    assert [row.name for row in rows] == [
        "memory.max", "memory.swap.max", "cpu.max", "cpu.max.period", "io.max 8:0 rbps"
    ]  # fmt: skip


CASES: list[tuple[str, Unit, dict[str, str], dict[str, str], dict[str, Any]]] = [
    (
        "an administrator has set it",
        unit(["MemoryMax"], MemoryMax=32 * M), {"memory.max": f"{32 * M}"}, {},
        {"memory.max": (f"{64 * M}", f"{32 * M}", f"{32 * M}", f"{64 * M}", agreement.BY_SOMEBODY)},
    ),
    (
        "the unit has lost it",
        unit(MemorySwapMax=INFINITY), {"memory.swap.max": "max"}, {},
        {"memory.swap.max": ("0", "max", "max", "0", agreement.NOT_IN_UNIT)},
    ),
    (
        "only the scope's file has it no more",
        unit(), {"io.max 8:0 rbps": "max"}, {},
        {"io.max 8:0 rbps": (f"{M}", f"{M}", "max", f"{M}", agreement.NOT_IN_SCOPE)},
    ),
    (
        "only the container's file has it no more",
        unit(), {}, {"cpu.max": "max"},
        {"cpu.max": ("34%", "34%", "34%", "max", agreement.NOT_IN_CONTAINER)},
    ),
    (
        "nobody asked for it, and an administrator has set it",
        unit(["TasksMax"], TasksMax=7), {"pids.max": "7"}, {},
        {"pids.max": ("max", "7", "7", None, agreement.BY_SOMEBODY)},
    ),
    ("nobody asked for it, and systemd has a default", unit(TasksMax=7), {"pids.max": "7"}, {}, {}),
    ("an administrator has taken it back", unit(["MemoryHigh"]), {"memory.high": "max"}, {}, {}),
    (
        "another device",
        unit(["IOReadBandwidthMax"], IOReadBandwidthMax=[("/dev/block/8:0", M), ("/dev/block/8:16", 5)]),
        {"io.max 8:16 rbps": "5"}, {},
        {"io.max 8:16 rbps": ("max", "5", "5", None, agreement.BY_SOMEBODY)},
    ),
    (
        "nobody asked for it, and it stands in the container's file",
        unit(), {}, {"pids.max": "5"},
        {"pids.max": ("max", None, None, "5", agreement.NOT_IN_CONTAINER)},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "scope", "own", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_differs(unit: Unit, scope: Any, own: Any, told: Any) -> None:
    assert differing(made(LIMITS).rows(unit, {**SCOPE, **scope}, {**OWN, **own})) == told


def test_a_property_that_this_systemd_does_not_know() -> None:
    limits: Any = {"unified": {"memory.zswap.max": "0"}}
    found = made(limits).rows(unit(unknown=["MemoryZSwapMax"]), {"memory.zswap.max": "max"}, {"memory.zswap.max": "0"})
    assert [(row.name, row.unit, row.scope, row.note) for row in found] == [
        ("memory.zswap.max", None, None, agreement.UNKNOWN)
    ]
    assert not found[0].differs


def test_what_is_idle_has_no_weight() -> None:
    values = {**VALUES, "CPUWeight": 0}
    rows = made({"cpu": {"idle": 1}}).rows(
        Unit(values, frozenset(), frozenset()),
        {"cpu.idle": "1", "cpu.weight": "0"},
        {"cpu.idle": "1", "cpu.weight": "0"},
    )
    assert [(row.name, row.differs) for row in rows] == [("cpu.idle", False)]


def test_without_a_unit_the_files_alone_count() -> None:
    limits = {**LIMITS, "devices": [{"allow": False, "access": "rwm"}]}
    rows = made(limits).rows(None, {}, {**OWN, "memory.max": "max"})
    assert differing(rows) == {"memory.max": (f"{64 * M}", None, None, "max", agreement.NOT_IN_CONTAINER)}
    assert not any(row.name.startswith("device") for row in rows)


DENY = {"allow": False, "access": "rwm"}
MENDED: list[tuple[Any, Unit, list[str]]] = [
    (LIMITS, unit(), []),
    (LIMITS, unit(["MemoryMax"], MemoryMax=1 * M), [f"MemoryMax={64 * M}"]),
    (LIMITS, unit(["TasksMax"], TasksMax=7), [f"TasksMax={INFINITY}"]),
    (LIMITS, unit(["IOReadBandwidthMax"], IOReadBandwidthMax=[("/dev/block/8:16", 5)]),
     ["IOReadBandwidthMax=[]", f"IOReadBandwidthMax=[('/dev/block/8:0', {M})]"]),
    (LIMITS, unit(["AllowedCPUs"], AllowedCPUs=[1]), ["AllowedCPUs=b''"]),
    ({}, unit(["DeviceAllow"], DeviceAllow=[("/dev/char/1:11", "r")], DevicePolicy="auto"),
     ["DeviceAllow=[]", "DevicePolicy=auto"]),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "found", "told"), MENDED)
def test_what_sets_it_right(limits: Any, found: Unit, told: list[str]) -> None:
    holds = made(limits)
    files = SCOPE if limits else {}
    rows = holds.rows(found, files, files)
    assert [f"{name}={value}" for name, _, value in holds.mended(rows, found)] == told


def test_devices_are_said_as_a_whole_and_in_order() -> None:
    holds = made({"devices": [DENY]})
    values = {"DeviceAllow": [("/dev/char/1:11", "r")], "DevicePolicy": "auto"}
    found = Unit(values, frozenset(), frozenset())
    rows = holds.rows(found, {}, {})
    assert {row.name: (row.config, row.unit) for row in rows if row.differs}.items() >= {
        "devices": ("strict", "auto"), "device char 1:11": ("", "r"), "device char 1:3": ("rwm", "")
    }.items()  # fmt: skip
    assert [name for name, _, _ in holds.mended(rows, found)] == ["DeviceAllow", "DevicePolicy", "DeviceAllow"]


WRITTEN = [
    (["memory.max"], [("memory.max", f"{64 * M}")]),
    (["cpu.max", "cpu.max.period"], [("cpu.max", "33333 100000")]),
    (["io.max 8:0 rbps", "io.max 8:0 wbps"], [("io.max", f"8:0 rbps={M}"), ("io.max", "8:0 wbps=max")]),
    (["pids.max", "memory.low"], [("pids.max", "max"), ("memory.low", "0")]),
    (["cpuset.cpus"], [("cpuset.cpus", "\n")]),
    (["io.weight 8:0"], [("io.weight", "8:0 default")]),
]


@pytest.mark.parametrize(("keys", "told"), WRITTEN)
def test_what_is_written(keys: list[str], told: list[tuple[str, str]]) -> None:
    assert made(LIMITS).written(keys) == told


def test_drop_ins() -> None:
    paths = [f"/run/systemd/transient/a.scope.d/{name}" for name in (
        "50-MemoryMax.conf", "50-CPUQuota.conf", "50-CPUQuotaPeriodSec.conf", "60-TasksMax.conf", "50-IOWeight.txt")]  # fmt: skip
    assert agreement.changed(paths) == {"MemoryMax", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec"}

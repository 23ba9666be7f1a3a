"""What `update` makes of its options, and how it lays that over what a container has."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from pyoci_systemd.cli.options import defaults
from pyoci_systemd.cli.verbs import VERBS
from pyoci_systemd.container import update
from pyoci_systemd.container.store import Container, Known
from pyoci_systemd.errors import Error, SpecError
from pyoci_systemd.settings import Options
from tests.unit.plans import facts


def asked(**options: str) -> Any:
    return update.wanted(Options(**{**defaults(VERBS["update"].options), "id": "c", **options}))


@pytest.mark.parametrize(("options", "wanted"), [
    ({"memory": "512m"}, {"memory": {"limit": 512 << 20}}),
    ({"memory": "-1", "memory_swap": "-1"}, {"memory": {"limit": -1, "swap": -1}}),
    ({"memory_reservation": "4K"}, {"memory": {"reservation": 4096}}),
    ({"memory": "1G", "memory_swap": "2g"}, {"memory": {"limit": 1 << 30, "swap": 2 << 30}}),
    ({"cpu_share": "1024", "cpu_quota": "-1", "cpu_period": "100000"}, {"cpu": {"shares": 1024, "quota": -1, "period": 100000}}),
    ({"cpu_quota": "5", "cpu_burst": "0", "cpu_idle": "1"}, {"cpu": {"quota": 5, "burst": 0, "idle": 1}}),
    ({"cpuset_cpus": "0-2,7", "cpuset_mems": "0"}, {"cpu": {"cpus": "0-2,7", "mems": "0"}}),
    ({"pids_limit": "-1"}, {"pids": {"limit": -1}}),
    ({"blkio_weight": "10"}, {"blockIO": {"weight": 10}}),
    # of cgroup v1: said to be so when the limits are planned
    ({"kernel_memory": "1", "kernel_memory_tcp": "2"}, {"memory": {"kernel": 1, "kernelTCP": 2}}),
    ({"cpu_rt_period": "1", "cpu_rt_runtime": "2"}, {"cpu": {"realtimePeriod": 1, "realtimeRuntime": 2}}),
])  # fmt: skip
def test_options(options: dict[str, str], wanted: Any) -> None:
    assert asked(**options) == wanted


def test_every_option_is_for_something() -> None:
    assert {row[0] for row in VERBS["update"].options} == {
        "resources",
        "property",
        "l3_cache_schema",
        "mem_bw_schema",
        *update.OPTIONS,
    }


@pytest.mark.parametrize(
    "text", ["", "x", "5x", "m", "-", "--5", "+5", "1.5g", "1_0", "٣", "5 ", "9" * 30, "5mm", "0x5"]
)
def test_no_number(text: str) -> None:
    with pytest.raises(Error) as caught:
        update.number(text, "--memory")
    assert (caught.value.message, caught.value.status) == (f"option `--memory` takes a number, not `{text}`", 2)


@pytest.mark.parametrize(("options", "words"), [
    ({"memory": "9223372036854775807t"}, "memory.limit must be an integer"),
    ({"pids_limit": "99999999999999999999"}, "takes a number"),
    ({"blkio_weight": "5"}, "blockIO.weight"),
    ({"blkio_weight": "1001"}, "blockIO.weight"),
    ({"cpu_share": "-1"}, "cpu.shares"),
    ({"cpuset_cpus": "x"}, "cpu.cpus must be"),
])  # fmt: skip
def test_impossible(options: dict[str, str], words: str) -> None:
    with pytest.raises(Error) as caught:
        asked(**options)
    assert words in caught.value.message


def test_file_and_options(tmp_path: pathlib.Path) -> None:
    """What the command line says counts more than the file, member by member."""
    path = tmp_path / "resources.json"
    path.write_text(json.dumps({"memory": {"limit": 1, "swap": 2}, "pids": {"limit": 3}, "blockIO": None}))
    assert asked(resources=str(path)) == {"memory": {"limit": 1, "swap": 2}, "pids": {"limit": 3}}
    both = asked(resources=str(path), memory="2")
    assert both == {"memory": {"limit": 2, "swap": 2}, "pids": {"limit": 3}}
    path.write_text("{}")
    assert asked(resources=str(path)) == {}  # a client's empty file asks for nothing, and is no mistake
    with pytest.raises(Error, match="^nothing to update$"):
        asked()


@pytest.mark.parametrize(
    "text", ['{"memory": {"limit": true}}', "[]", "null", '{"memory": {"limit": 1}, "memory": {}}', "{"]
)
def test_bad_file(text: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "resources.json"
    path.write_text(text)
    with pytest.raises(SpecError, match="^`?.*resources.json`?: "):
        asked(resources=str(path))


@pytest.mark.parametrize(("before", "asked", "after"), [
    ({}, {"pids": {"limit": 1}}, {"pids": {"limit": 1}}),
    ({"pids": {"limit": 1}}, {}, {"pids": {"limit": 1}}),
    ({"memory": {"limit": 1, "swap": 4}}, {"memory": {"limit": 2}}, {"memory": {"limit": 2, "swap": 4}}),
    ({"cpu": {"period": 5}}, {"cpu": {"quota": 7}}, {"cpu": {"period": 5, "quota": 7}}),
    ({"unified": {"a.b": "1"}}, {"unified": {"a.c": "2"}}, {"unified": {"a.b": "1", "a.c": "2"}}),
    ({"devices": [1, 2]}, {"devices": [3]}, {"devices": [3]}),
    ({"devices": [1, 2]}, {"devices": []}, {"devices": [1, 2]}),  # asks for nothing
    ({"hugepageLimits": [1]}, {"pids": {"limit": 1}}, {"hugepageLimits": [1], "pids": {"limit": 1}}),
    # the unit has one property for weight and idle
    ({"cpu": {"idle": 1}}, {"cpu": {"idle": 0}}, {"cpu": {"idle": 0, "shares": 1024}}),
    ({"cpu": {"idle": 1, "shares": 5}}, {"cpu": {"idle": 0}}, {"cpu": {"idle": 0, "shares": 5}}),
    ({"cpu": {"idle": 1}}, {"cpu": {"quota": 5}}, {"cpu": {"idle": 1, "quota": 5}}),
    # what unified says counts, so it must not outlive what is asked now
    ({"unified": {"memory.max": "1", "memory.high": "2"}}, {"memory": {"limit": 3}}, {"unified": {"memory.high": "2"}, "memory": {"limit": 3}}),
    ({"memory": {"limit": 3}}, {"unified": {"memory.max": "1"}}, {"unified": {"memory.max": "1"}, "memory": {"limit": 3}}),
    ({}, {"unified": {"memory.max": "1"}, "memory": {"limit": 3}}, {"unified": {"memory.max": "1"}, "memory": {"limit": 3}}),
])  # fmt: skip
def test_laid_over(before: Any, asked: Any, after: Any) -> None:
    was = json.dumps(before)
    assert update.merged(before, asked) == after
    assert json.dumps(before) == was


def test_sections_that_nobody_asks_about_are_left_alone() -> None:
    after: Any = {"memory": {"limit": 1}, "pids": {"limit": 2}}
    assert update.only(after, {"pids": {"limit": 2}}) == {"pids": {"limit": 2}}
    after = {"unified": {"memory.high": "1", "memory.min": "2"}}
    assert update.only(after, {"unified": {"memory.min": "2"}}) == {"unified": {"memory.min": "2"}}


@pytest.mark.parametrize(("before", "limits", "first"), [
    ({}, {"cpu": {"quota": 5000, "burst": 5000}}, None),
    ({"cpu": {"quota": 9000, "burst": 9000}}, {"cpu": {"quota": 5000, "burst": 5000}}, {"cpu": {"burst": 0}}),
    ({"cpu": {"quota": 9000, "burst": 0}}, {"cpu": {"quota": 5000, "burst": 5000}}, None),
    ({"cpu": {"quota": 9000, "burst": 9000}}, {"pids": {"limit": 1}}, None),
    # total of memory and swap: less memory, more swap
    ({"memory": {"limit": 64, "swap": 64}}, {"memory": {"limit": 32, "swap": 96}}, {"unified": {"memory.swap.max": "64"}}),
    ({"memory": {"limit": 64, "swap": 96}}, {"memory": {"limit": 32, "swap": 96}}, {"unified": {"memory.swap.max": "64"}}),
    ({"memory": {"limit": 64, "swap": 64}}, {"memory": {"limit": 32, "swap": -1}}, {"unified": {"memory.swap.max": "max"}}),
    ({"memory": {"limit": 64, "swap": -1}}, {"memory": {"limit": 32, "swap": 96}}, None),
    ({"memory": {"limit": 64, "swap": 96}}, {"memory": {"limit": 32, "swap": 64}}, None),
    ({"memory": {"limit": 64, "swap": 64}}, {"memory": {"limit": 96, "swap": 128}}, None),
    ({"memory": {"limit": 64}}, {"memory": {"limit": 32}}, None),
])  # fmt: skip
def test_what_has_to_come_first(before: Any, limits: Any, first: Any) -> None:
    assert update.steps(before, limits) == ([first, limits] if first else [limits])


@pytest.mark.parametrize(("memory", "refused"), [
    ({"limit": 4095, "checkBeforeUpdate": True}, True),
    ({"limit": 4096, "checkBeforeUpdate": True}, False),
    ({"limit": -1, "checkBeforeUpdate": True}, False),
    ({"swap": 1, "checkBeforeUpdate": True}, False),
    ({"limit": 1, "checkBeforeUpdate": False}, False),
    ({"limit": 1}, False),
])  # fmt: skip
def test_what_is_in_use(memory: Any, refused: bool, tmp_path: pathlib.Path) -> None:
    """CG5."""
    (tmp_path / "memory.current").write_text("4096\n")
    if refused:
        with pytest.raises(Error, match="^resources.memory.limit: 4095 bytes are less than the 4096 in use$"):
            update.check_usage(str(tmp_path), {"memory": memory})
    else:
        update.check_usage(str(tmp_path), {"memory": memory})


def test_devices_where_nobody_restricts_them(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Rootless: neither systemd nor we can, and that is said."""
    said: list[str] = []
    monkeypatch.setattr("pyoci_systemd.container.probe.facts", lambda _: facts(in_user_namespace=True))
    monkeypatch.setattr("pyoci_systemd.log.warning", said.append)
    container = Container(str(tmp_path), "c")
    container.write_file = lambda name, data: None  # type: ignore[method-assign]
    container.write(Known("c", "/b", "/b/rootfs", "", "user", "cgroupfs", cgroup=str(tmp_path)))
    update.change(container, [{"devices": [{"allow": False, "access": "rwm"}]}], [], {})
    assert said == ["linux.resources.devices: nothing restricts devices here: only root of the host can"]

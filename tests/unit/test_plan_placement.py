"""Where the container lives: every form of cgroupsPath as a path, and the annotations that divide a scope."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import placement
from pyoci_systemd.plan.placement import Placement
from tests.unit.plans import config

SUBGROUP, DELEGATED = "run.oci.systemd.subgroup", "run.oci.delegate-cgroup"


def place(manager: str, path: str | None = None, **annotations: str) -> Placement:
    notes = {f"run.oci.{key.replace('__', '.')}": value for key, value in annotations.items()}
    return placement.plan(config(linux={} if path is None else {"cgroupsPath": path}, annotations=notes), manager, "c1")


def refusal(*args: Any, **annotations: str) -> str:
    with pytest.raises(SpecError) as caught:
        place(*args, **annotations)
    return caught.value.message


@pytest.mark.parametrize(("path", "made"), [
    (None, "c1"),
    ("", "c1"),
    ("/a/b", "a/b"),
    ("a/b", "a/b"),  # the same value is the same place always (CG2), so it is never that of the caller
    ("/docker/3f4e", "docker/3f4e"),
    ("//a/./b//", "a/b"),
    ("/system.slice/web.service/libpod-payload-9a", "system.slice/web.service/libpod-payload-9a"),
    ("a.slice:b:c", "a.slice:b:c"),
    ("/...", "..."),
])  # fmt: skip
def test_cgroupfs(path: str | None, made: str) -> None:
    assert place("cgroupfs", path) == Placement(path=made)


@pytest.mark.parametrize("path", ["/", "//", ".", "/./", "./."])
def test_no_container_has_the_root(path: str) -> None:
    """crun takes it, and kills the machine with the container."""
    assert refusal("cgroupfs", path) == f'config.json: linux.cgroupsPath: "{path}" is the root of the hierarchy'


@pytest.mark.parametrize(("notes", "made"), [
    ({}, Placement(subgroup="container")),
    ({"systemd__subgroup": ""}, Placement()),
    ({"systemd__subgroup": "a/b/"}, Placement(subgroup="a/b")),
    ({"delegate-cgroup": "mine"}, Placement(subgroup="container", delegated="mine")),
    ({"delegate-cgroup": "/a//b"}, Placement(subgroup="container", delegated="a/b")),
    ({"delegate-cgroup": ""}, Placement(subgroup="container")),
    ({"systemd__subgroup": "", "delegate-cgroup": "mine"}, Placement(delegated="mine")),
])  # fmt: skip
def test_below_a_scope(notes: dict[str, str], made: Placement) -> None:
    assert place("systemd", "a.slice:b:c", **notes) == made


def test_delegated_by_cgroupfs() -> None:
    assert place("cgroupfs", "/a", **{"delegate-cgroup": "b"}) == Placement(path="a", delegated="b")


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs"])
@pytest.mark.parametrize("name", ["..", "../x", "a/../b", "a/..", "/../x"])
def test_no_annotation_leads_out(name: str, manager: str) -> None:
    """crun 1.21 follows it: into the slice, where no limit of the container's holds."""
    told = f'config.json: annotations: run.oci.delegate-cgroup: "{name}" must not hold `..`'
    assert refusal(manager, **{"delegate-cgroup": name}) == told
    if manager == "systemd":
        assert refusal(manager, systemd__subgroup=name) == told.replace(DELEGATED, SUBGROUP)


def test_without_cgroups() -> None:
    assert place("disabled", "/a/b") == place("disabled", "/") == Placement()
    assert refusal("disabled", **{"delegate-cgroup": "a"}).endswith(f"{DELEGATED}: nothing to delegate without cgroups")


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs", "disabled"])
def test_only_cgroup_v2(manager: str) -> None:  # F120
    told = "config.json: annotations: run.oci.systemd.force_cgroup_v1: this runtime knows cgroup v2 alone"
    assert refusal(manager, systemd__force_cgroup_v1="/x") == told


@pytest.mark.parametrize(("manager", "value", "warned"), [
    ("systemd", "a", False), ("cgroupfs", "", False), ("cgroupfs", "a", True), ("disabled", "a", True),
])  # fmt: skip
def test_what_is_asked_in_vain_is_told(manager: str, value: str, warned: bool) -> None:
    told = placement.warnings(config(annotations={SUBGROUP: value}), manager)
    assert bool(told) == warned

"""The plan as a whole: what is refused for now, and what each manager gets."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import plan
from pyoci_systemd.spec.defaults import default_config
from tests.unit.plans import config, facts, limited, names, request


def made(config: Any, **asked: Any) -> plan.Plan:
    return plan.make(config, facts(), request(**asked))


@pytest.mark.parametrize("asked", [
    {"hooks": {}},
    {"hooks": {"prestart": [], "poststop": []}},
    {"process": {"selinuxLabel": "", "apparmorProfile": ""}},
    {"linux": {"namespaces": [{"type": "mount"}], "mountLabel": "", "intelRdt": {}, "netDevices": {}}},
])  # fmt: skip
def test_clients_write_what_is_empty(asked: dict[str, Any]) -> None:
    assert made(config(**asked)).ops


def test_default_config_under_systemd() -> None:
    one = made(default_config())
    assert (one.unit, one.manager, one.rootfs) == ("pyoci-c1.scope", "systemd", "/b/rootfs")
    assert one.properties[0] == ("Description", "s", "container c1: sh")
    assert (one.uid_map, one.gid_map, one.warnings) == ("", "", [])
    order = names(one.ops)
    assert order[0] == "clone"
    assert order[-1] == "execute"
    # the first process makes the namespaces, the second the rest
    assert order.index("clone") < order.index("private_proc") < order.index("pivot_root") < order.index("umask")


def test_without_systemd_there_is_no_unit() -> None:
    one = made(limited(), manager="cgroupfs")
    assert (one.unit, one.properties, one.manager) == ("", (), "cgroupfs")
    plain = config(linux={"namespaces": [{"type": "mount"}], "cgroupsPath": "/my/place"})
    assert (made(plain).unit, made(plain).placement.path) == ("", "my/place")


def test_limits_need_a_cgroup() -> None:
    with pytest.raises(SpecError, match=r"^config\.json: linux\.resources: cannot set limits without cgroups$"):
        made(limited(pids={"limit": 5}), manager="disabled")
    assert made(limited(pids={"limit": 0}), manager="disabled").properties == ()


def test_planning_changes_neither_the_config_nor_the_next_plan() -> None:
    one: Any = default_config()
    first, second = made(one), made(one)
    assert one == default_config()
    assert first == second
    second.ops.clear()
    assert made(one).ops == first.ops

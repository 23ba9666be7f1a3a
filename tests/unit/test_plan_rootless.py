"""What a user without privileges gets otherwise than root: a user namespace unasked, and what only it gives rights to."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import automatic, credentials, namespaces, ops, plan
from pyoci_systemd.plan.automatic import Ids
from pyoci_systemd.plan.facts import Door
from pyoci_systemd.plan.limits import devices
from pyoci_systemd.plan.words import CLONE, HOOKS_GATE
from tests.unit.plans import config, facts, names, request

USER = {"uid": 1000, "gid": 100, "capabilities": 0}
OWN = {
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
    "gidMappings": [{"containerID": 0, "hostID": 100, "size": 1}],
}
MANY = {"gidMappings": [*OWN["gidMappings"], {"containerID": 1, "hostID": 100000, "size": 65536}]}
NEW = {"namespaces": [{"type": "mount"}, {"type": "user"}], **OWN}


def made(linux: Any = NEW, host: Any = USER, **top: Any) -> plan.Plan:
    return plan.make(config(linux=linux, **top), facts(**host), request())


# own id as the container's, sub ids, the map: inside, outside, how many
MAPS = [
    (0, [], [(0, 1000, 1)]),
    (7, [], [(7, 1000, 1)]),
    (0, [(100000, 65536)], [(0, 1000, 1), (1, 100000, 65536)]),
    (1000, [(100000, 65536)], [(0, 100000, 1000), (1000, 1000, 1), (1001, 101000, 64536)]),
    (1, [(5, 1), (9, 2)], [(0, 5, 1), (1, 1000, 1), (2, 9, 2)]),
    (2, [(5, 1), (9, 2)], [(0, 5, 1), (1, 9, 1), (2, 1000, 1), (3, 10, 1)]),
    (1000, [(100000, 10)], [(0, 100000, 10), (1000, 1000, 1)]),
]


@pytest.mark.parametrize(("inside", "ranges", "expected"), MAPS)
def test_the_own_id_is_the_process_s(inside: int, ranges: Any, expected: Any) -> None:  # F187
    entries = automatic.mapping(inside, 1000, ranges)
    assert [(entry["containerID"], entry["hostID"], entry["size"]) for entry in entries] == expected


@pytest.mark.parametrize(("linux", "needed"), [
    ({}, True),
    ({"namespaces": [{"type": "user"}]}, True),
    (NEW, False),
    ({"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}, False),
])  # fmt: skip
def test_who_says_how_keeps_it(linux: Any, needed: bool) -> None:
    assert automatic.is_needed(config(linux=linux)) == needed


def test_a_user_namespace_unasked() -> None:  # F187
    asked = config(process={"user": {"uid": 33, "gid": 33}})
    given = automatic.with_user_namespace(asked, Ids(1000, 100, [], []))
    assert given["linux"]["namespaces"] == [{"type": "user"}, {"type": "mount"}]
    assert namespaces.id_maps(given) == ("33 1000 1\n", "33 100 1\n")
    assert "user" not in namespaces.wanted(asked), "the caller's config has changed"


def test_groups_without_users_are_no_use() -> None:
    given = automatic.with_user_namespace(config(), Ids(1000, 100, [], [(100000, 65536)]))
    assert namespaces.id_maps(given) == ("0 1000 1\n", "0 100 1\n")


def test_it_may_be_looked_into_only_while_its_ids_are_mapped() -> None:
    steps = names(made().ops)
    assert steps[:3] == ["dumpable", "new_user_namespace", "dumpable"]
    assert [op.dumpable for op in made().ops if isinstance(op, ops.Dumpable)] == [1, 0]
    assert "dumpable" not in names(made(host={}).ops), "root's is looked into by nobody"


def test_root_of_another_user_namespace_needs_it_too() -> None:
    """Files below /proc of who cannot be looked into belong to root of the first one."""
    steps = names(made(host={"in_user_namespace": True}).ops)
    assert steps[steps.index("new_user_namespace") - 1 :][::2][:2] == ["dumpable", "dumpable"]


def test_sources_of_mounts_are_taken_in_the_mount_namespace() -> None:
    mounts = [{"destination": "/data", "type": "bind", "source": "/srv"}]
    steps = names(made(mounts=mounts).ops)
    assert steps.index("clone") < steps.index("tree") < steps.index("rootfs")
    steps = names(made(host={}, mounts=mounts).ops)
    assert steps.index("tree") < steps.index("clone")


def test_handles_are_numbered_as_they_are_taken() -> None:
    """An op that takes a descriptor gives it the next number; the start socket is the first."""
    mounts = [{"destination": "/data", "type": "bind", "source": "/srv"}]
    linux = {"namespaces": [{"type": "mount"}, {"type": "user", "path": "/u"}, {"type": "ipc", "path": "/i"}]}
    listed = made(linux, mounts=mounts).ops
    takers = [op for op in listed if isinstance(op, (ops.OpenNamespace, ops.Tree))]
    [bind] = [op for op in listed if isinstance(op, ops.Bind) and op.target == "/data"]
    wanted = next(number for number, op in enumerate(takers, 1) if isinstance(op, ops.Tree) and op.target == "/data")
    assert bind.tree == wanted
    joined = {op.namespace: op.number for op in listed if isinstance(op, ops.JoinNamespace)}
    assert joined == {op.namespace: n for n, op in enumerate(takers, 1) if isinstance(op, ops.OpenNamespace)}


def test_the_user_namespace_is_entered_first() -> None:
    every = sum(CLONE[kind] for kind in ("user", "mount", "pid", "cgroup"))
    opened, first, clone, last = namespaces.enter(Door(every, "/sys/fs/cgroup/x", unprivileged=True))
    assert names([opened, clone]) == ["open_cgroup", "clone"]
    assert first == ops.Enter(every & ~CLONE["cgroup"])
    assert last == ops.Enter(CLONE["cgroup"])


@pytest.mark.parametrize(("linux", "host", "kept"), [
    (NEW, USER, 1), ({**NEW, **MANY}, USER, 0), (NEW, {}, 0), ({"namespaces": [{"type": "mount"}], **OWN}, USER, 0),
])  # fmt: skip
def test_who_has_one_group_keeps_the_others(linux: Any, host: Any, kept: int) -> None:  # CVE-2014-8989
    op = credentials.user({"cwd": "/", "args": []}, config(linux=linux), facts(**host))
    assert isinstance(op, ops.User)
    assert op.keep_groups == kept


def test_no_group_is_taken_where_none_can_be() -> None:
    with pytest.raises(SpecError, match=r"^config\.json: process\.user\.additionalGids: .* one group") as caught:
        made(process={"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0, "additionalGids": [5]}})
    assert "/etc/subgid" in caught.value.hint


@pytest.mark.parametrize("host", [USER, {"in_user_namespace": True}])
def test_nobody_restricts_devices(host: Any) -> None:
    asked = {**NEW, "resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    told = made(asked, host)
    assert devices.UNPRIVILEGED in told.warnings
    assert not {"DeviceAllow", "DevicePolicy"} & {name for name, _, _ in told.properties}
    assert "DevicePolicy" in {name for name, _, _ in made(asked, {}).properties}


def test_a_hook_inside_enters_by_what_may_be_looked_into() -> None:
    hooks = {"createContainer": [{"path": "/bin/true"}]}
    listed = made(hooks=hooks).ops
    gate = listed.index(ops.Await(HOOKS_GATE))
    assert listed[gate - 1 : gate + 2] == [ops.Dumpable(1), ops.Await(HOOKS_GATE), ops.Dumpable(0)]
    assert names(made(hooks={"createRuntime": [{"path": "/bin/true"}]}).ops).count("dumpable") == 2


def test_a_hook_of_the_image_s_looks_into_nothing() -> None:
    with pytest.raises(SpecError, match="^config.json: hooks.startContainer: only root's containers"):
        made(hooks={"startContainer": [{"path": "/bin/true"}]})


def test_a_group_of_terminals_that_is_not_mapped_is_left_out() -> None:
    mounts = [{"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "gid=5"]}]

    def data(linux: Any) -> list[str]:
        return next(op.data for op in made(linux, mounts=mounts).ops if isinstance(op, ops.Mount))

    assert data(NEW) == ["newinstance"]
    assert data({**NEW, **MANY}) == ["newinstance", "gid=5"]


@pytest.mark.parametrize(("source", "options", "below"), [
    ("/sys", ["rbind", "ro"], 1), ("/sys/", ["rbind", "ro"], 1), ("/sys", ["rbind"], 0), ("/srv", ["rbind", "ro"], 0),
])  # fmt: skip
def test_what_is_below_a_read_only_sys_is_read_only(source: str, options: list[str], below: int) -> None:
    """The cgroups of the host's (CVE-2023-25809)."""
    mounts = [{"destination": "/sys", "type": "none", "source": source, "options": options}]
    [bind] = [op for op in made(mounts=mounts).ops if isinstance(op, ops.Bind) and op.target == "/sys"]
    assert bind.recursive_set == below

"""linux.namespaces: what the first process does, in which order, up to the clone."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import namespaces, ops, plan
from pyoci_systemd.plan.handles import Handles
from tests.unit.plans import config, facts, names, request

# linux/sched.h
NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
MAPS: dict[str, Any] = {
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 100, "size": 1}],
}


def spaces(*kinds: str, **paths: str) -> list[dict[str, str]]:
    return [*({"type": kind} for kind in kinds), *({"type": kind, "path": path} for kind, path in paths.items())]


def planned(*kinds: str, process: Any = None, linux: Any = None, **paths: str) -> list[ops.Op]:
    made = config(process=process, linux={"namespaces": spaces(*kinds, **paths), **(linux or {})})
    return namespaces.plan(made, facts(), Handles(1, []))


@pytest.mark.parametrize(("kinds", "flags"), [
    ("mount", NEWNS),
    ("mount pid", NEWNS | NEWPID),
    ("pid network ipc uts mount", NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS),
    ("mount cgroup", NEWNS),  # waits for the scope
])  # fmt: skip
def test_all_at_once(kinds: str, flags: int) -> None:
    assert planned(*kinds.split()) == [ops.Clone(flags, -1)]


def test_user_namespace_comes_first_and_is_not_cloned() -> None:
    made = planned("mount", "pid", "user", linux=MAPS)
    assert made == [ops.NewUserNamespace(), ops.Clone(NEWNS | NEWPID, -1)]


def test_whom_a_user_namespace_does_not_map_makes_nothing_in_it() -> None:
    users = [{"containerID": 1001, "hostID": 5, "size": 1}, {"containerID": 1000, "hostID": 9, "size": 1}]
    made = planned("mount", "user", linux={**MAPS, "uidMappings": users})
    assert made == [ops.NewUserNamespace(1000, 0), ops.Clone(NEWNS, -1)]


def test_joined_namespaces_are_all_opened_before_the_first_is_entered() -> None:
    made = planned("pid", mount="/m", network="/n", user="/u", ipc="/i")
    assert made == [
        ops.OpenNamespace(NEWNS, "/m"),
        ops.OpenNamespace(NEWNET, "/n"),
        ops.OpenNamespace(NEWUSER, "/u"),
        ops.OpenNamespace(NEWIPC, "/i"),
        # user: it gives the right to enter the others; mount: the paths and /proc go away with it
        ops.JoinNamespace(NEWUSER, 3),
        ops.JoinNamespace(NEWNET, 2),
        ops.JoinNamespace(NEWIPC, 4),
        ops.JoinNamespace(NEWNS, 1),
        ops.Clone(NEWPID, -1),
    ]


def test_oom_score_before_any_namespace() -> None:
    """The file belongs to the first user namespace's root: written from another it is refused."""
    made = planned("mount", "user", network="/n", process={"oomScoreAdj": -500}, linux=MAPS)
    assert names(made) == ["oom_score", "open_namespace", "join_namespace", "new_user_namespace", "clone"]
    assert made[0] == ops.OomScore("-500")


def test_oom_score_of_zero_is_one_and_none_is_none() -> None:  # PRC8
    assert planned("mount", process={"oomScoreAdj": 0})[0] == ops.OomScore("0")
    assert names(planned("mount")) == ["clone"]


def test_time_namespace() -> None:
    offsets = {"monotonic": {"secs": -86400, "nanosecs": 999999999}, "boottime": {"secs": 7}}
    made = planned("mount", "time", "user", linux={**MAPS, "timeOffsets": offsets})
    assert names(made) == ["new_user_namespace", "new_time_namespace", "time_offset", "time_offset", "clone"]
    # no process may be in it when they are written (time_namespaces(7)), so before the clone
    assert sorted(made[2:4], key=lambda op: op.clock) == [  # type: ignore[attr-defined]
        ops.TimeOffset("boottime", 7, 0),
        ops.TimeOffset("monotonic", -86400, 999999999),
    ]
    assert not made[-1].namespaces & NEWTIME  # type: ignore[attr-defined]
    assert names(planned("mount", "time")) == ["new_time_namespace", "clone"]


def test_joined_time_namespace_is_not_shifted() -> None:
    made = planned("mount", time="/t", linux={"timeOffsets": {"boottime": {"secs": 1}}})
    assert names(made) == ["open_namespace", "join_namespace", "clone"]


@pytest.mark.parametrize("kinds", [(), ("pid", "uts")])
def test_mounts_are_never_the_host_s(kinds: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as caught:
        planned(*kinds)
    assert caught.value.message == "config.json: linux.namespaces must name a mount namespace"


@pytest.mark.parametrize("linux", [{}, {"uidMappings": MAPS["uidMappings"]}, {"gidMappings": MAPS["gidMappings"]}])
def test_user_namespace_without_mappings(linux: Any) -> None:
    with pytest.raises(
        SpecError, match=r"^config\.json: a new user namespace needs linux\.uidMappings and linux\.gidMappings$"
    ):
        planned("mount", "user", linux=linux)


def test_id_maps() -> None:
    """user_namespaces(7): inside, outside, length."""
    assert namespaces.id_maps(config(linux=MAPS)) == ("0 1000 1\n1 100000 65536\n", "0 100 1\n")
    assert namespaces.id_maps(config()) == ("", "")


@pytest.mark.parametrize("space", [spaces("mount"), spaces("mount", user="/proc/1/ns/user")])
def test_maps_are_written_for_a_new_user_namespace_only(space: Any) -> None:
    """A joined one has its mapping already, and its init asks for none: whoever waits for it to ask waits in vain."""
    made = plan.make(config(linux={"namespaces": space, **MAPS}), facts(), request())
    assert "new_user_namespace" not in names(made.ops)
    assert (made.uid_map, made.gid_map) == ("", "")


def test_is_new() -> None:
    made = config(linux={"namespaces": spaces("mount", pid="/p")})
    assert [namespaces.is_new(made, kind) for kind in ("mount", "pid", "uts")] == [True, False, False]

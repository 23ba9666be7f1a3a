"""Who the process is: the five sets as masks, what cannot be had of them, user and groups."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.plan import credentials, ops
from tests.unit.plans import ALL_CAPABILITIES, config, facts

# linux/capability.h
CHOWN, KILL, NET_BIND_SERVICE, SYS_ADMIN, AUDIT_WRITE, CHECKPOINT_RESTORE = 0, 5, 10, 21, 29, 40


def sets(available: int = ALL_CAPABILITIES, **asked: Any) -> credentials.Sets:
    return credentials.Sets({"cwd": "/", "capabilities": asked}, available)  # type: ignore[typeddict-item]


def masks(made: credentials.Sets) -> tuple[int, int, int, int, int]:
    return made.bounding, made.permitted, made.effective, made.inheritable, made.ambient


@pytest.mark.parametrize(("name", "number"), [
    ("CAP_CHOWN", CHOWN), ("CAP_KILL", KILL), ("CAP_NET_BIND_SERVICE", NET_BIND_SERVICE), ("CAP_SYS_ADMIN", SYS_ADMIN),
    ("CAP_AUDIT_WRITE", AUDIT_WRITE), ("CAP_CHECKPOINT_RESTORE", CHECKPOINT_RESTORE),
])  # fmt: skip
def test_number(name: str, number: int) -> None:
    assert sets(bounding=[name]).bounding == 1 << number


def test_each_set_is_its_own() -> None:
    kill, bind, admin = ["CAP_KILL"], ["CAP_NET_BIND_SERVICE"], ["CAP_SYS_ADMIN"]
    made = sets(
        bounding=[*kill, *bind, *admin], permitted=kill + bind, effective=kill, inheritable=bind + admin, ambient=bind
    )
    k, b, a = 1 << KILL, 1 << NET_BIND_SERVICE, 1 << SYS_ADMIN
    assert masks(made) == (k | b | a, k | b, k, b | a, b)
    assert made.warnings == []


def test_nothing_asked_nothing_held() -> None:
    assert masks(sets()) == (0, 0, 0, 0, 0)
    assert masks(credentials.Sets({"cwd": "/"}, ALL_CAPABILITIES)) == (0, 0, 0, 0, 0)  # type: ignore[typeddict-item]
    assert masks(sets(bounding=None, permitted=[], effective=None)) == (0, 0, 0, 0, 0)


def test_what_the_kernel_would_refuse_is_left_out_and_said() -> None:
    """capabilities(7): effective within permitted, ambient within permitted and inheritable. PRC7: a warning."""
    both = ["CAP_KILL", "CAP_CHOWN"]
    made = sets(permitted=["CAP_KILL"], effective=both, inheritable=["CAP_KILL"], ambient=both)
    assert masks(made) == (0, 1 << KILL, 1 << KILL, 1 << KILL, 1 << KILL)
    assert any("effective" in text and "CAP_CHOWN" in text for text in made.warnings)
    assert any("ambient" in text and "CAP_CHOWN" in text for text in made.warnings)


def test_ambient_needs_both() -> None:
    one = ["CAP_KILL"]
    assert sets(permitted=one, ambient=one).ambient == 0
    assert sets(inheritable=one, ambient=one).ambient == 0
    assert sets(permitted=one, inheritable=one, ambient=one).ambient == 1 << KILL


@pytest.mark.parametrize("word", ["CAP_UNHEARD_OF", "KILL", "cap_kill", "", "CAP_KILL "])
def test_unknown_capability_is_a_warning(word: str) -> None:  # PRC7
    made = sets(bounding=[word, "CAP_KILL"], permitted=[word])
    assert made.bounding == 1 << KILL
    assert made.warnings == [
        f"process.capabilities.bounding: unknown capability `{word}`",
        f"process.capabilities.permitted: unknown capability `{word}`",
    ]


def test_capability_that_the_runtime_does_not_have() -> None:
    made = sets(1 << CHOWN, bounding=["CAP_CHOWN", "CAP_KILL"], effective=["CAP_KILL"])
    assert made.bounding == 1 << CHOWN
    assert (
        made.warnings[0] == "process.capabilities.bounding: `CAP_KILL` cannot be granted: the runtime does not have it"
    )


def test_a_warning_is_given_once() -> None:
    assert len(sets(bounding=["CAP_X", "CAP_X"]).warnings) == 1


def test_available() -> None:
    few = facts(capabilities=5)
    assert credentials.available(config(), few) == 5
    user = config(linux={"namespaces": [{"type": "mount"}, {"type": "user"}]})
    assert credentials.available(user, few) == ALL_CAPABILITIES
    joined = config(linux={"namespaces": [{"type": "mount"}, {"type": "user", "path": "/proc/1/ns/user"}]})
    assert credentials.available(joined, few) == ALL_CAPABILITIES


@pytest.mark.parametrize(("who", "expected"), [
    (None, (0, 0, [], 0)),
    ({"uid": 1000, "gid": 100}, (1000, 100, [], 0)),
    ({"uid": 0, "gid": 0, "additionalGids": [5, 1, 65534]}, (0, 0, [5, 1, 65534], 0)),
    ({"uid": 2**32 - 2, "gid": 2**32 - 2, "additionalGids": [2**32 - 2]}, (2**32 - 2, 2**32 - 2, [2**32 - 2], 0)),
])  # fmt: skip
def test_user(who: Any, expected: tuple[int, int, list[int], int]) -> None:
    process: Any = {"cwd": "/"} if who is None else {"cwd": "/", "user": who}
    op = credentials.user(process, config(), facts())
    assert isinstance(op, ops.User)
    groups = [int.from_bytes(op.groups[at : at + 4], "little") for at in range(0, len(op.groups), 4)]
    assert (op.uid, op.gid, groups, op.keep_groups) == expected


def test_original_groups_are_kept_on_request() -> None:  # F118
    asking = config(annotations={"run.oci.keep_original_groups": "1"})
    op = credentials.user({"cwd": "/", "args": []}, asking, facts())
    assert isinstance(op, ops.User)
    assert op.keep_groups == 1

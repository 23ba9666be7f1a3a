"""Device rules as systemd's DeviceAllow=: what it can say, what it is told when it cannot, and to whom a program goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci_systemd.plan import device_filter, plan
from pyoci_systemd.plan.limits import devices
from tests.chance import examples
from tests.unit import bpf
from tests.unit.plans import facts, limited, request

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}
# F192, DEV3: without these a container's own default devices would not work
ALWAYS = [
    ("char-*", "m"), ("block-*", "m"),
    ("/dev/char/1:3", "rwm"), ("/dev/char/1:5", "rwm"), ("/dev/char/1:7", "rwm"), ("/dev/char/1:8", "rwm"),
    ("/dev/char/1:9", "rwm"), ("/dev/char/5:0", "rwm"), ("/dev/char/5:2", "rwm"), ("char-136", "rwm"),
]  # fmt: skip


def rule(allow: bool, kind: str = "c", major: int = -1, minor: int = -1, access: str = "rwm") -> Any:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


ALWAYS_RULES = [rule(True, "c", 1, minor) for minor in (3, 5, 7, 8, 9)] + [
    rule(True, "c", 5, minor) for minor in (0, 2)
]


def planned(*rules: Any) -> list[Any]:
    return devices.properties({"devices": list(rules)})


def told(*rules: Any) -> tuple[str, list[tuple[str, str]]]:
    """Return policy and list as systemd gets them."""
    (empty, policy, *filled) = planned(*rules)
    assert empty == ("DeviceAllow", "a(ss)", []), "the list is emptied first"
    assert policy[:2] == ("DevicePolicy", "s")
    entries: Any = filled[0][2] if filled else []
    assert len({device for device, _ in entries}) == len(entries), "of two for a device systemd takes the later alone"
    return str(policy[2]), entries


def exact(*rules: Any) -> bool:
    """Does DeviceAllow= say it all."""
    return not devices.unsaid({"devices": list(rules)}, "systemd")


@pytest.mark.parametrize("nothing", [{}, {"devices": []}])
def test_no_rules_no_policy(nothing: Any) -> None:
    assert devices.properties(nothing) == []
    assert [devices.unsaid(nothing, manager) for manager in ("systemd", "cgroupfs", "disabled")] == [[]] * 3


def test_order() -> None:
    """The list is emptied, the policy set, the list filled: any other order asks for a daemon-reload."""
    assert planned(DENY_ALL, rule(True, "c", 10, 229, "rw")) == [
        ("DeviceAllow", "a(ss)", []),
        ("DevicePolicy", "s", "strict"),
        ("DeviceAllow", "a(ss)", [*ALWAYS, ("/dev/char/10:229", "rwm")]),
    ]


def also(device: str, access: str) -> list[tuple[str, str]]:
    """Return what is always granted, and this."""
    return [(name, access if name == device else value) for name, value in ALWAYS] + [
        (device, access) for _ in "x" if device not in dict(ALWAYS)
    ]


@pytest.mark.parametrize(("asked", "expected"), [
    ([rule(True, "c", 10, 229)], also("/dev/char/10:229", "rwm")),
    ([rule(True, "b", 8, 0, "r")], also("/dev/block/8:0", "rm")),  # any node may be made
    ([rule(True, "c", 10, -1, "rw")], also("char-10", "rwm")),
    ([rule(True, "c", 0, 0)], also("/dev/char/0:0", "rwm")),
    ([{"allow": True, "type": "c", "major": 10, "minor": 3}], also("/dev/char/10:3", "rwm")),
    # what is granted already needs no entry of its own, and no entry takes anything from it
    ([rule(True, "b", access="m")], ALWAYS),
    ([rule(True, "c", 1, 3, "r")], ALWAYS),
    ([rule(True, "c", 136, 7)], ALWAYS),
    ([rule(True, "b", access="r")], also("block-*", "rm")),
    ([rule(True, "b")], also("block-*", "rwm")),
    ([rule(True, "c")], [("char-*", "rwm"), ("block-*", "m")]),
    ([{"allow": True, "type": "c", "access": ""}], [("char-*", "rwm"), ("block-*", "m")]),
    # one entry has to grant the whole of an access
    ([rule(True, "c", 10, 229, "r"), rule(True, "c", 10, 229, "w")], also("/dev/char/10:229", "rwm")),
    ([rule(True, "c", 10, 229, "r"), rule(True, "c", 10, -1, "w")],
     [*ALWAYS, ("/dev/char/10:229", "rwm"), ("char-10", "wm")]),
    ([rule(True, "c", 10, -1, "w"), rule(True, "c", 10, 229, "r")],
     [*ALWAYS, ("char-10", "wm"), ("/dev/char/10:229", "rwm")]),
    # numbers without a type are of both types, and not of all devices
    ([{"allow": True, "major": 10, "minor": 229, "access": "rw"}],
     [*ALWAYS, ("/dev/char/10:229", "rwm"), ("/dev/block/10:229", "rwm")]),
    # D16: a deny of what was never allowed, or of what is allowed again, changes nothing
    ([rule(False, "c", 10, 229)], ALWAYS),
    ([rule(True, "c", 10), rule(False, "c", 10)], ALWAYS),
    ([rule(False, "c", 10, 229, "w"), rule(False, "b", 8, -1, "r")], ALWAYS),
    ([rule(True, "c", 10, 229), rule(False, "c", 10, 229, "rw")], ALWAYS),
    ([rule(True, "c", 10), rule(False, "c", access="rw"), rule(True, "c", 136), *ALWAYS_RULES], ALWAYS),
    ([rule(True, "c", 10, 229), rule(False, "c", 10, 229), rule(True, "c", 10, 229, "rwm")], also("/dev/char/10:229", "rwm")),
    ([rule(True, "c", 10, 229), rule(False, "b", 10, 229, "rw")], also("/dev/char/10:229", "rwm")),
    ([rule(True, "c", 10, 229), rule(False, "c", 10, -1, "rw")], ALWAYS),
    ([rule(True, "c", 10, 229), rule(False, "c", 11, -1, "rw")], also("/dev/char/10:229", "rwm")),
    ([rule(True, "c", 10, 229), rule(False, "c", 10, 229, "w")], also("/dev/char/10:229", "rm")),
])  # fmt: skip
def test_what_systemd_can_say(asked: list[Any], expected: list[tuple[str, str]]) -> None:
    policy, entries = told(DENY_ALL, *asked)
    assert policy == "strict"
    assert entries == expected
    assert exact(DENY_ALL, *asked)


EVERYTHING = [ALLOW_ALL, {"allow": True}, {"allow": True, "type": "a", "access": "rwm"}]


@pytest.mark.parametrize("everything", EVERYTHING)
def test_all_devices(everything: Any) -> None:
    assert told(everything) == told(DENY_ALL, rule(True, "c", 1, 1), everything) == ("auto", [])
    assert exact(everything)


def test_the_last_rule_for_all_devices_forgets_those_before() -> None:
    assert told(rule(True, "c", 9, 9), DENY_ALL, rule(True, "c", 10, 10)) == ("strict", also("/dev/char/10:10", "rwm"))
    assert told(ALLOW_ALL, DENY_ALL) == ("strict", ALWAYS)


@pytest.mark.parametrize(("asked", "generous"), [
    ([ALLOW_ALL, rule(False, "c", 10, 229)], ("auto", [])),
    ([ALLOW_ALL, rule(False, "b", 8, -1, "w")], ("auto", [])),
    ([DENY_ALL, rule(True, "c", 10), rule(False, "c", 10, 229)], ("strict", also("char-10", "rwm"))),
    ([DENY_ALL, rule(True, "b", 8), rule(False, "b", 8, 1, "w")], ("strict", also("block-8", "rwm"))),
    ([DENY_ALL, rule(False, "c", 1, 3, "w"), rule(False, "c", 1, 5, "m")],
     ("strict", [(d, "rm" if d == "/dev/char/1:3" else a) for d, a in ALWAYS])),
    ([DENY_ALL, rule(False, "c", 10, 229, "m")], ("strict", ALWAYS)),  # that any node may be made is always granted
    ([DENY_ALL, rule(True, "c", -1, 229, "rw")], ("strict", [("char-*", "rwm"), ("block-*", "m")])),
    ([DENY_ALL, rule(True, "c", 10), rule(False, "c", -1, 229)], ("strict", also("char-10", "rwm"))),
])  # fmt: skip
def test_what_systemd_cannot_say(asked: list[Any], generous: Any) -> None:
    """It is told more than is allowed, and a program decides."""
    assert told(*asked) == generous
    assert not exact(*asked)
    assert plan.make(limited(devices=asked), facts(), request()).device_rules == devices.ordered({"devices": asked})


def by_systemd(entries: list[tuple[str, str]], kind: str, major: int, minor: int, access: str) -> bool:
    """DevicePolicy=strict: one entry grants the whole access."""
    family = {"c": "char", "b": "block"}[kind]
    fitting = (f"{family}-*", f"{family}-{major}", f"/dev/{family}/{major}:{minor}")
    return any(device in fitting and set(access) <= set(granted) for device, granted in entries)


accesses = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
numbers = st.sampled_from([(-1, -1), (1, -1), (1, 3), (10, -1), (10, 0), (10, 3), (-1, 3)])
one_rule = st.one_of(
    st.sampled_from([DENY_ALL, ALLOW_ALL]),
    st.builds(lambda allow, kind, n, access: rule(allow, kind, n[0], n[1], access), st.booleans(), st.sampled_from("abc"), numbers, accesses),
)  # fmt: skip
EVERY = [(kind, major, minor) for kind in "bc" for major in (1, 10, 11) for minor in (0, 3, 5)]


@examples(150)
@given(st.lists(one_rule, min_size=1, max_size=6), st.sampled_from(["r", "w", "m", "rw"]))
def test_systemd_never_keeps_back_what_is_allowed(rules: list[Any], access: str) -> None:
    """With the program, which is right by test_program_is_the_rules; and without one it allows no more either."""
    policy, entries = told(*rules)
    program = device_filter.program(devices.ordered({"devices": rules}))
    for device in EVERY:
        allowed = bpf.device(program, *device, access)
        by_list = policy == "auto" or by_systemd(entries, *device, access)
        assert by_list >= allowed, device
        assert by_list == allowed or not exact(*rules), device


@pytest.mark.parametrize(("manager", "changes", "rules", "warning"), [
    ("systemd", {}, [DENY_ALL], ""),
    ("cgroupfs", {}, [DENY_ALL], ""),
    ("systemd", {"uid": 1000}, [DENY_ALL], devices.UNPRIVILEGED),
    ("systemd", {"in_user_namespace": True}, [ALLOW_ALL, rule(False, "c", 10)], devices.UNPRIVILEGED),
    ("cgroupfs", {"in_user_namespace": True}, [DENY_ALL], devices.UNPRIVILEGED),
    ("disabled", {}, [DENY_ALL], devices.NO_CGROUP),
    ("disabled", {"uid": 1000}, [DENY_ALL], devices.NO_CGROUP),
    # nothing is kept from anyone: nothing to be warned of
    ("disabled", {"uid": 1000}, [ALLOW_ALL], ""),
    ("systemd", {"uid": 1000}, [DENY_ALL, ALLOW_ALL], ""),
    ("systemd", {"uid": 1000}, [], ""),
])  # fmt: skip
def test_who_keeps_the_rules(manager: str, changes: Any, rules: list[Any], warning: str) -> None:
    """Where nobody can, the caller is told so once, and systemd is told nothing that it would not do."""
    made = plan.make(limited(devices=rules), facts(**changes), request(manager=manager))
    assert [text for text in made.warnings if "devices" in text] == [warning] * bool(warning)
    if warning:
        assert made.device_rules == []
        assert not [name for name, _, _ in made.properties if name.startswith("Device")]


@pytest.mark.parametrize(("rules", "by"), [
    ([DENY_ALL], ["cgroupfs"]),
    ([ALLOW_ALL, rule(False, "c", 10)], ["systemd", "cgroupfs"]),
    ([ALLOW_ALL], []),
])  # fmt: skip
def test_who_gets_a_program(rules: list[Any], by: list[str]) -> None:
    managers = ("systemd", "cgroupfs", "disabled")
    assert [manager for manager in managers if devices.unsaid({"devices": rules}, manager)] == by


@pytest.mark.parametrize(("asked", "words"), [
    (rule(False, "c", 10, 229, "rw"), "deny c 10:229 rw"),
    (rule(True, "b", 8), "allow b 8:* rwm"),
    (rule(True, "c", -1, 0, "m"), "allow c *:0 m"),
    ({"allow": False}, "deny a *:* rwm"),
])  # fmt: skip
def test_said(asked: Any, words: str) -> None:
    assert words in [devices.describe(one) for one in devices.ordered({"devices": [asked]})]

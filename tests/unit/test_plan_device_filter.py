"""Device rules as a program: run by a small machine, and held against the rules read one after another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import device_filter
from pyoci_systemd.plan.limits import devices
from pyoci_systemd.spec.load import load
from tests.chance import examples
from tests.unit import bpf
from tests.unit.plans import limited

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}
NULL, CONSOLE, FUSE, DISK, PTY = ("c", 1, 3), ("c", 5, 1), ("c", 10, 229), ("b", 8, 0), ("c", 136, 7)


def rule(allow: bool, kind: str, major: int = -1, minor: int = -1, access: str = "rwm") -> Any:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def program(rules: list[Any]) -> bytes:
    return device_filter.program(devices.ordered({"devices": rules}))


def allowed(rules: list[Any], device: tuple[str, int, int], access: str) -> bool:
    return bpf.device(program(rules), *device, access)


@pytest.mark.parametrize(("device", "access", "expected"), [
    *[((kind, major, minor), "rw", True) for kind, major, minor in
      (NULL, ("c", 1, 5), ("c", 1, 7), ("c", 1, 8), ("c", 1, 9), ("c", 5, 0), ("c", 5, 2), PTY)],
    (("c", 136, 0), "rwm", True),
    # any node may be made, none be opened
    (FUSE, "m", True), (DISK, "m", True),
    (FUSE, "r", False), (FUSE, "rw", False), (FUSE, "mr", False), (DISK, "r", False), (DISK, "w", False),
    (("c", 1, 1), "r", False),  # /dev/mem
    (("c", 1, 2), "w", False),
    (("b", 1, 3), "r", False),  # the numbers of /dev/null, of another type
    (("c", 3, 1), "r", False),
    (CONSOLE, "r", False),
    (("c", 137, 0), "r", False),
    (("c", 1, 259), "r", False),  # 3 in its low byte
])  # fmt: skip
def test_default_rules(device: tuple[str, int, int], access: str, expected: bool) -> None:
    assert allowed([DENY_ALL], device, access) is expected


@pytest.mark.parametrize(("rules", "device", "access", "expected"), [
    ([rule(True, "c", 10, 229, "rw")], FUSE, "rw", True),
    ([rule(True, "c", 10, 229, "r")], FUSE, "r", True),
    ([rule(True, "c", 10, 229, "r")], FUSE, "w", False),
    ([rule(True, "c", 10, 229, "r")], FUSE, "rw", False),
    ([rule(True, "c", 10, 229, "r"), rule(True, "c", 10, -1, "w")], FUSE, "rw", True),
    ([rule(True, "c", 10)], ("c", 10, 1), "rw", True),
    ([rule(True, "c", 10)], ("c", 11, 1), "rw", False),
    ([rule(True, "c", 0, 0)], ("c", 0, 0), "r", True),
    ([rule(True, "c", 0, 0)], ("c", 7, 7), "r", False),
    ([rule(True, "b")], DISK, "rw", True),
    ([rule(True, "b")], FUSE, "rw", False),
    # CG4: in order, so a deny after an allow is a deny, and the reverse
    ([rule(True, "c", 10), rule(False, "c", 10, 229)], FUSE, "r", False),
    ([rule(True, "c", 10), rule(False, "c", 10, 229)], ("c", 10, 1), "r", True),
    ([rule(False, "c", 10), rule(True, "c", 10, 229)], FUSE, "r", True),
    ([rule(True, "c", 10), rule(False, "c", 10, 229, "w")], FUSE, "r", True),
    ([rule(True, "c", 10), rule(False, "c", 10, 229, "w")], FUSE, "rw", False),
    ([rule(False, "c", 1, 3)], NULL, "r", False),
    ([rule(False, "c", 10, 229)], FUSE, "m", True),
    ([rule(False, "c", 10, 229, "m")], FUSE, "m", False),
    ([ALLOW_ALL], DISK, "rwm", True),
    ([ALLOW_ALL, rule(False, "b", 8)], DISK, "r", False),
    ([ALLOW_ALL, DENY_ALL], DISK, "r", False),
    ([ALLOW_ALL, DENY_ALL], NULL, "rw", True),
    ([{"allow": True, "type": "c", "major": 10, "minor": 229}], FUSE, "rwm", True),
    # one minor number of every major
    ([rule(True, "c", -1, 229)], FUSE, "rw", True),
    ([rule(True, "c", -1, 229)], ("c", 11, 229), "rw", True),
    ([rule(True, "c", -1, 229)], ("c", 10, 1), "r", False),
])  # fmt: skip
def test_rules(rules: list[Any], device: tuple[str, int, int], access: str, expected: bool) -> None:
    assert allowed([DENY_ALL, *rules], device, access) is expected


def by_hand(rules: list[Any], kind: str, major: int, minor: int, access: str) -> bool:
    """Each letter is decided by the last rule that speaks of it; all letters must be allowed."""
    always = [rule(True, "c", *numbers) for numbers in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136,))]
    everyone = [*always, rule(True, "c", access="m"), rule(True, "b", access="m")]
    # the last rule for all devices, whatever part of the access it is about, is followed by the defaults
    last = max((at for at, one in enumerate(rules, 1) if one.get("type") in (None, "a")), default=0)
    rules = [*rules[:last], *everyone, *rules[last:]]
    # a deny of a device whole leaves that its node may be made
    rules = [
        one
        if one["allow"] or set(one["access"]) < set("rwm") or one.get("type") in (None, "a")
        else {**one, "access": "rw"}
        for one in rules
    ]

    def letter_allowed(letter: str) -> bool:
        verdict = False
        for one in rules:
            fits = one.get("type") in (None, "a", kind) and letter in one["access"]
            if fits and one.get("major", -1) in (-1, major) and one.get("minor", -1) in (-1, minor):
                verdict = one["allow"]
        return verdict

    return all(map(letter_allowed, access))


accesses = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
one_rule = st.one_of(
    st.sampled_from([DENY_ALL, ALLOW_ALL]),
    st.builds(lambda allow, access: {"allow": allow, "type": "a", "access": access}, st.booleans(), accesses),
    st.builds(lambda a, k, n, x: rule(a, k, n[0], n[1], x), st.booleans(), st.sampled_from("bc"), st.sampled_from(
        [(-1, -1), (0, -1), (0, 0), (1, -1), (1, 3), (10, 0), (10, 10)]
    ), accesses),
)  # fmt: skip


@examples(60)
@given(
    st.lists(one_rule, min_size=1, max_size=5),
    st.sampled_from("bc"),
    st.sampled_from([0, 1, 10]),
    st.sampled_from([0, 3, 10]),
    accesses,
)
def test_program_is_the_rules(rules: list[Any], kind: str, major: int, minor: int, access: str) -> None:
    assert allowed(rules, (kind, major, minor), access) is by_hand(rules, kind, major, minor, access)


@pytest.mark.parametrize(
    "numbers", [(4096, 0), (0, 1 << 20), (2**31, 0), (0, 2**31), (2**63 - 1, 1), (2**32 + 10, 229)]
)
def test_numbers_that_no_device_has(numbers: tuple[int, int]) -> None:
    """They are never taken for others."""
    with pytest.raises(SpecError) as caught:
        load(json.dumps(limited(devices=[DENY_ALL, rule(True, "c", *numbers)])).encode())
    assert caught.value.message == (
        "config.json: linux.resources.devices[1]: major is at most 4095, minor at most 1048575"
    )


def test_the_highest_numbers_there_are() -> None:
    assert allowed([DENY_ALL, rule(True, "c", 4095, (1 << 20) - 1)], ("c", 4095, (1 << 20) - 1), "rw")
    load(json.dumps(limited(devices=[rule(True, "c", 4095, (1 << 20) - 1)])).encode())


@pytest.mark.parametrize("access", ["r", "w", "m", "rw"])
def test_part_of_the_access_to_all_devices_is_not_all_of_it(access: str) -> None:
    rules = [DENY_ALL, {"allow": True, "type": "a", "access": access}]
    for letter in "rw":  # any node may be made
        assert bpf.device(program(rules), *DISK, letter) is (letter in access)


def test_numbers_without_a_type_are_of_both_types_and_not_of_all_devices() -> None:
    made = program([DENY_ALL, {"allow": True, "major": 10, "minor": 229, "access": "rw"}])
    assert [bpf.device(made, *device, "r") for device in (FUSE, ("b", 10, 229), DISK)] == [True, True, False]


@pytest.mark.parametrize(("rules", "device", "access", "expected"), [
    ([rule(True, "c", 10, 229), {"allow": False, "access": "w"}], FUSE, "r", True),
    ([rule(True, "c", 10, 229), {"allow": False, "access": "w"}], FUSE, "w", False),
    ([ALLOW_ALL, {"allow": True, "type": "a", "access": "r"}], DISK, "w", True),
    ([ALLOW_ALL, {"allow": False, "type": "a", "access": "w"}], NULL, "w", True),
])  # fmt: skip
def test_part_of_the_access_to_all_devices_leaves_the_rest(
    rules: list[Any], device: tuple[str, int, int], access: str, expected: bool
) -> None:
    assert allowed(rules, device, access) is expected

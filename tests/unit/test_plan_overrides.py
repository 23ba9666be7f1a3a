"""org.systemd.property.*: what may be set, in which type, and that nothing else gets through."""

from __future__ import annotations

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import overrides
from pyoci_systemd.systemd.wire import marshal
from tests.unit.plans import config

PREFIX = "org.systemd.property."


def planned(**asked: str) -> list[tuple[str, str, object]]:
    return overrides.plan(config(annotations={PREFIX + name: text for name, text in asked.items()}))


def refusal(name: str, text: str) -> str:
    with pytest.raises(SpecError) as caught:
        planned(**{name: text})
    return caught.value.message


@pytest.mark.parametrize(("name", "text", "signature", "value"), [
    ("TimeoutStopUSec", "uint64 10000000", "t", 10_000_000),
    ("TimeoutStopUSec", "5", "t", 5),
    ("TimeoutStopUSec", "18446744073709551615", "t", 2**64 - 1),
    ("TimeoutStopSec", "uint64 5", "t", 5_000_000),
    ("TimeoutStopSec", "5", "t", 5_000_000),  # crun sends an int32, which systemd refuses
    ("RuntimeMaxSec", "int32 1", "t", 1_000_000),
    ("RuntimeMaxUSec", "0", "t", 0),
    ("KillSignal", "15", "i", 15),
    ("KillSignal", "int32 9", "i", 9),
    ("FinalKillSignal", "9", "i", 9),
    ("CollectMode", "'inactive-or-failed'", "s", "inactive-or-failed"),
    ("CollectMode", '"inactive"', "s", "inactive"),
    ("Description", "'it is \"mine\"'", "s", 'it is "mine"'),
    ("Description", '"it\'s"', "s", "it's"),
    ("SendSIGKILL", "true", "b", True),
    ("SendSIGHUP", " false ", "b", False),
    ("After", "['a.service']", "as", ["a.service"]),
    ("After", "['a.service', \"b.service\"]", "as", ["a.service", "b.service"]),
    ("PartOf", "[ 'a' ,'b' ]", "as", ["a", "b"]),
])  # fmt: skip
def test_value(name: str, text: str, signature: str, value: object) -> None:
    sent = name if name.endswith("USec") or not name.endswith("Sec") else name[:-3] + "USec"
    assert planned(**{name: text}) == [(sent, signature, value)]


@pytest.mark.parametrize("name", [
    # which processes, where, and by whom they run (CVE-2024-3154)
    "PIDs", "PIDFDs", "Slice", "Delegate", "Controller", "DelegateSubgroup", "User", "Group",
    # what would run, or be read, on the host
    "ExecStart", "ExecStop", "ExecStopPost", "BPFProgram", "SourcePath", "Documentation", "FailureAction",
    # what would be started with the scope
    "Wants", "Requires", "BindsTo", "Upholds", "OnFailure", "OnSuccess", "Conflicts",
    # limits and devices are config.json's
    "DevicePolicy", "DeviceAllow", "MemoryMax", "AllowedCPUs", "TasksMax", "CPUQuotaPerSecUSec",
    # no names at all
    "", "Sec", "USec", "killsignal", "KillSignal ", " KillSignal", "KillSignal\n", "Kill.Signal", "TimeoutStop",
    "KillSec", "Description ",
])  # fmt: skip
def test_property_that_must_not_be_set(name: str) -> None:
    assert refusal(name, "'x'") == f"config.json: annotations: `{PREFIX}{name}` must not be set"


@pytest.mark.parametrize(("name", "text"), [
    ("TimeoutStopUSec", ""), ("TimeoutStopUSec", "uint64"), ("TimeoutStopUSec", "-1"), ("TimeoutStopUSec", "'5'"),
    ("TimeoutStopUSec", "5 s"), ("TimeoutStopUSec", "0x5"), ("TimeoutStopUSec", "5.0"), ("TimeoutStopUSec", "1_0"),
    ("TimeoutStopUSec", "٥"), ("TimeoutStopUSec", "+5"), ("TimeoutStopUSec", "--5"), ("TimeoutStopUSec", "infinity"),
    ("TimeoutStopUSec", "uint64 5 5"), ("TimeoutStopUSec", "double 5"), ("TimeoutStopUSec", "18446744073709551616"),
    ("TimeoutStopUSec", "9" * 5000),
    ("KillSignal", "2147483648"), ("KillSignal", "-2147483649"), ("KillSignal", "TERM"), ("KillSignal", "true"),
    ("SendSIGKILL", "1"), ("SendSIGKILL", "True"), ("SendSIGKILL", "yes"), ("SendSIGKILL", "'true'"), ("SendSIGKILL", ""),
    ("CollectMode", "inactive"), ("CollectMode", "'inactive"), ("CollectMode", "'"), ("CollectMode", ""),
    ("CollectMode", "'a' 'b'"), ("CollectMode", r"'a\'b'"), ("CollectMode", "'a\""),
    ("After", "'a.service'"), ("After", "['a.service'"), ("After", "[a.service]"), ("After", "['a', ]"), ("After", "['a',,'b']"),
    ("Description", "'a\nb'"), ("Description", "'a\x1b'"), ("CollectMode", "'inactive\u2028'"), ("After", "['a\n']"), ("After", "[5]"), ("After", "["), ("After", ""), ("After", "[['a']]"),
])  # fmt: skip
def test_value_of_another_type(name: str, text: str) -> None:
    message = refusal(name, text)
    assert message.startswith(f"config.json: annotations: `{PREFIX}{name}`: `")
    assert message.endswith(f"is not of the D-Bus type `{overrides.ALLOWED[name]}`")


@pytest.mark.parametrize(("name", "text"), [
    ("TimeoutStopSec", "18446744073709551615"),
    ("RuntimeMaxSec", "uint64 18446744073710"),
])  # fmt: skip
def test_seconds_that_do_not_fit_as_microseconds(name: str, text: str) -> None:
    assert refusal(name, text).startswith(f"config.json: annotations: `{PREFIX}{name}`")


def test_most_seconds_that_fit() -> None:
    ((_, _, value),) = planned(RuntimeMaxSec="18446744073709")
    assert value == 18_446_744_073_709_000_000


@pytest.mark.parametrize("text", ["[]", "['']", "[ ]"])
def test_empty_dependencies_are_refused(text: str) -> None:
    """There is nothing to set, and systemd has aborted on what was empty (systemd #20933)."""
    assert refusal("After", text).startswith(f"config.json: annotations: `{PREFIX}After`")


def test_other_annotations_are_nobody_s() -> None:
    notes = {
        "org.systemd.propert": "x",
        "Org.systemd.property.User": "x",
        "org.systemd.property": "x",
        "a": "",
        " org.systemd.property.User": "",
    }
    assert overrides.plan(config(annotations=notes)) == []
    assert overrides.plan(config()) == []


def test_order_is_the_config_s() -> None:
    asked = {"SendSIGKILL": "true", "After": "['a']", "KillSignal": "1"}
    assert [name for name, _, _ in planned(**asked)] == list(asked)


def test_types_are_those_of_the_bus() -> None:
    """Every type of the table can be marshalled, with a value of it."""
    samples: dict[str, object] = {"s": "x", "as": ["x"], "b": True, "i": -1, "t": 2**64 - 1}
    for signature in overrides.ALLOWED.values():
        marshal(signature, (samples[signature],))

"""org.systemd.property.*: what may be set, in which type, and that nothing else gets through."""

from __future__ import annotations

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import overrides, scopetable, unitsyntax
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
    ("MemoryPressureWatch", "'auto'", "s", "auto"),
    ("CoredumpReceive", "true", "b", True),
    ("IPAddressDeny", "'10.0.0.0/8'", "a(iayu)", [(2, b"\x0a\0\0\0", 8)]),
    ("SocketBindAllow", "'tcp:80'", "a(iiqq)", [(0, 6, 1, 80)]),
    ("RestrictNetworkInterfaces", "'~eth0 eth1'", "(bas)", (False, ["eth0", "eth1"])),
    ("ManagedOOMMemoryPressureLimit", "'50%'", "u", 2147483648),
])  # fmt: skip
def test_value(name: str, text: str, signature: str, value: object) -> None:
    sent = name if name.endswith("USec") or not name.endswith("Sec") else name[:-3] + "USec"
    assert planned(**{name: text}) == [(sent, signature, value)]


OWN = "which processes and place a scope has is the runtime's own"
OPERATOR = "only by `--property`"
LIMIT = "limits and devices are those of linux.resources"
SERVICE = "a scope has no such property, only a service has"
UNKNOWN = "no property of a scope is known by this name"


@pytest.mark.parametrize(("why", "names"), [
    # which processes, where, and by whom they run (CVE-2024-3154)
    (OWN, ["PIDs", "PIDFDs", "Slice", "Delegate", "Controller", "DelegateSubgroup", "User", "Group", "SourcePath", "Documentation"]),
    # what would run, or be read, on the host
    (SERVICE, ["ExecStart", "ExecStop", "ExecStopPost", "LoadCredential", "StandardOutput", "Restart", "WatchdogUSec", "Type"]),
    # what would be started with the scope, or end the host
    (OPERATOR, ["Wants", "Requires", "BindsTo", "Upholds", "OnFailure", "OnSuccess", "Conflicts", "FailureAction"]),
    # limits and devices are config.json's
    (LIMIT, ["DevicePolicy", "DeviceAllow", "MemoryMax", "AllowedCPUs", "TasksMax", "CPUQuotaPerSecUSec", "BPFProgram"]),
    # no names at all
    (UNKNOWN, ["", "Sec", "USec", "killsignal", "KillSignal ", " KillSignal", "KillSignal\n", "Kill.Signal", "TimeoutStop",
               "KillSec", "Description "]),
])  # fmt: skip
def test_property_that_must_not_be_set(why: str, names: list[str]) -> None:
    for name in names:
        said = refusal(name, "'x'")
        assert said.startswith(f"config.json: annotations: `{PREFIX}{name}`: it must not be set")
        assert said.endswith(why), (name, said)


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
    ("Description", "'a\nb'"), ("Description", "'a\x1b'"), ("Description", "'inactive\u2028'"), ("After", "['a\n']"), ("After", "[5]"), ("After", "["), ("After", ""), ("After", "[['a']]"),
])  # fmt: skip
def test_value_of_another_type(name: str, text: str) -> None:
    message = refusal(name, text)
    assert message.startswith(f"config.json: annotations: `{PREFIX}{name}`: `")
    signature = scopetable.SIGNATURES[scopetable.ANYONE[name].form]
    assert message.endswith(f"is not of the D-Bus type `{signature}`")


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


@pytest.mark.parametrize(("name", "text"), [
    ("CollectMode", "'never'"), ("KillMode", "'Mixed'"), ("OOMPolicy", "''"), ("MemoryPressureWatch", "'maybe'"),
])  # fmt: skip
def test_a_word_that_systemd_does_not_know(name: str, text: str) -> None:
    inner = text.strip("'")
    words = ", ".join(scopetable.ANYONE[name].words)
    assert refusal(name, text) == f"config.json: annotations: `{PREFIX}{name}`: `{inner}` is none of {words}"


# -- --property NAME=VALUE


@pytest.mark.parametrize(("option", "expected"), [
    ("KillSignal=SIGINT", ("KillSignal", "i", 2)),
    ("KillSignal=RTMIN+3", ("KillSignal", "i", 37)),
    ("RuntimeMaxSec=1h", ("RuntimeMaxUSec", "t", 3_600_000_000)),
    ("RuntimeMaxUSec=90", ("RuntimeMaxUSec", "t", 90_000_000)),  # the unit's syntax has seconds under either name
    ("TimeoutStopSec=infinity", ("TimeoutStopUSec", "t", 2**64 - 1)),
    ("DefaultDependencies=yes", ("DefaultDependencies", "b", True)),
    ("SendSIGHUP=off", ("SendSIGHUP", "b", False)),
    ("After=a.service b.target", ("After", "as", ["a.service", "b.target"])),
    ("Wants=a.service", ("Wants", "as", ["a.service"])),
    ("FailureAction=reboot-force", ("FailureAction", "s", "reboot-force")),
    ("Description=a = b", ("Description", "s", "a = b")),
])  # fmt: skip
def test_option(option: str, expected: tuple[str, str, object]) -> None:
    assert overrides.of_option(option) == expected


@pytest.mark.parametrize(("option", "said"), [
    ("KillSignal", "`KillSignal` is not NAME=VALUE"),
    ("=x", "``: it must not be set: no property of a scope is known by this name"),
    ("KillSignal=", "`KillSignal`: `` is not a signal"),
    ("KillSignal=FOO", "`KillSignal`: `FOO` is not a signal"),
    ("RuntimeMaxSec=1 fortnight", "`RuntimeMaxSec`: `1 fortnight` is not a span of time, such as `90`, `1min 30s` or `infinity`"),
    ("SendSIGHUP=maybe", "`SendSIGHUP`: `maybe` is not `yes` or `no`"),
    ("After= ", "`After`: ` ` is not a list of units"),
    ("KillMode=all", "`KillMode`: `all` is none of control-group, mixed, process, none"),
    ("PIDs=1", "`PIDs`: it must not be set: which processes and place a scope has is the runtime's own"),
    ("MemoryMax=1G", "`MemoryMax`: it must not be set: limits and devices are those of linux.resources"),
    ("ExecStartPre=/x", "`ExecStartPre`: it must not be set: a scope has no such property, only a service has"),
])  # fmt: skip
def test_option_that_is_wrong(option: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        overrides.of_option(option)
    assert caught.value.message == f"--property: {said}"


def test_what_is_fixed_cannot_be_updated() -> None:
    assert overrides.of_option("IPAddressDeny=any", live=True)[0] == "IPAddressDeny"
    with pytest.raises(SpecError, match="^--property: `KillMode`: it is fixed when the scope starts$"):
        overrides.of_option("KillMode=mixed", live=True)


def test_an_option_counts_more_than_an_annotation() -> None:
    made = config(annotations={f"{PREFIX}KillSignal": "1", f"{PREFIX}SendSIGHUP": "true"})
    assert overrides.plan(made, ["KillSignal=TERM"]) == [("SendSIGHUP", "b", True), ("KillSignal", "i", 15)]


STOP = "org.opencontainers.image.stopSignal"


@pytest.mark.parametrize(("notes", "signal"), [
    ({STOP: "SIGQUIT"}, 3), ({STOP: "15"}, 15), ({STOP: "SIGRTMIN+3"}, 37),
    ({STOP: "SIGQUIT", f"{PREFIX}KillSignal": "1"}, 1),
])  # fmt: skip
def test_the_image_says_how_it_is_stopped(notes: dict[str, str], signal: int) -> None:
    assert overrides.plan(config(annotations=notes)) == [("KillSignal", "i", signal)]


def test_a_stop_signal_that_is_none() -> None:
    with pytest.raises(SpecError, match=f"^config.json: annotations: `{STOP}`: unknown signal `BYE`$"):
        overrides.plan(config(annotations={STOP: "BYE"}))
    assert overrides.plan(config(annotations={STOP: ""})) == []


# -- the syntax of unit files


@pytest.mark.parametrize(("text", "microseconds"), [
    ("0", 0), ("90", 90_000_000), ("1.5", 1_500_000), ("2ms", 2_000), ("5us", 5), ("5µs", 5), ("1min 30s", 90_000_000),
    ("1min30s", 90_000_000), ("1h", 3_600_000_000), ("1 d", 86_400_000_000), ("2weeks", 1_209_600_000_000), ("1M", 2_629_800_000_000),
    ("1y", 31_557_600_000_000), (".5s", 500_000), ("infinity", 2**64 - 1),
])  # fmt: skip
def test_time(text: str, microseconds: int) -> None:
    """What `systemd-analyze timespan` makes of it."""
    assert unitsyntax.time(text) == microseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "1x",
        "1 2",
        "-1",
        "+1",
        "1..5",
        "1.5.5s",
        "1e3",
        "٥",
        "0x5",
        "1_0",
        ".",
        ".s",
        "99999999999999y",
        "9" * 30,
    ],
)
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        unitsyntax.time(text)


EVERYONE = [(2, bytes(4), 0), (10, bytes(16), 0)]


@pytest.mark.parametrize(("reader", "text", "value"), [
    ("addresses", "any", EVERYONE),
    ("addresses", "::1", [(10, bytes(15) + b"\1", 128)]),
    ("addresses", "10.1.2.3/8 192.0.2.1", [(2, b"\x0a\0\0\0", 8), (2, b"\xc0\0\2\1", 32)]),
    ("addresses", "link-local", [(2, b"\xa9\xfe\0\0", 16), (10, b"\xfe\x80" + bytes(14), 64)]),
    ("binds", "any", [(0, 0, 0, 0)]),
    ("binds", "ipv4:udp:53 8000-8080", [(2, 17, 1, 53), (0, 0, 81, 8000)]),
    ("interfaces", "eth0", (True, ["eth0"])),
    ("share", "0%", 0), ("share", "100%", 2**32 - 1), ("share", "12.34%", 529_998_964),
    ("flag", "On", True),
])  # fmt: skip
def test_other_values(reader: str, text: str, value: object) -> None:
    assert unitsyntax.READERS[reader](text) == value


@pytest.mark.parametrize(("reader", "texts"), [
    ("addresses", ["", "10.0.0.0/33", "host", "1.2.3", "::g", "10.0.0.0/-1"]),
    ("binds", ["", "80:tcp", "tcp:", "0", "65536", "9-8", "80-", "tcp:udp:80", "80,81", "+80", "٨"]),
    ("interfaces", ["", "~", "~ "]),
    ("share", ["", "%", "50", "101%", "-1%", "1.234%", "1,5%", "٥%"]),
    ("flag", ["", "2", "yess"]),
    ("text", ["", "a\nb", "\x1b"]),
])  # fmt: skip
def test_no_values(reader: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError):
            print(text, unitsyntax.READERS[reader](text))


def test_types_are_those_of_the_bus() -> None:
    """Every type of the table can be marshalled, with a value of it."""
    samples = {
        "flag": "yes", "word": "x", "text": "x", "signal": "TERM", "time": "1", "names": "a", "share": "1%", "addresses": "any",
        "binds": "any", "interfaces": "lo",
    }  # fmt: skip
    for kind in [*scopetable.ANYONE.values(), *scopetable.OPERATOR.values()]:
        marshal(scopetable.SIGNATURES[kind.form], (unitsyntax.READERS[kind.form](samples[kind.form]),))

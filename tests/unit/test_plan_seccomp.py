"""linux.seccomp as rules: actions with their errno, the conditions, flags, what is left out and what is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import seccomp

# linux/seccomp.h
KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, NOTIFY, TRACE, LOG, ALLOW = (
    0x80000000, 0, 0x30000, 0x50000, 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000,
)  # fmt: skip
ACTION_FULL = 0xFFFF0000


def section(*calls: Any, default: str = "SCMP_ACT_ERRNO", **more: Any) -> Any:
    return {"defaultAction": default, "syscalls": list(calls), **more}


def call(*names: str, action: str = "SCMP_ACT_ALLOW", args: Any = (), **more: Any) -> Any:
    return {"names": list(names), "action": action, "args": list(args), **more}


def arg(index: int, op: str = "EQ", value: int = 0, **more: Any) -> Any:
    return {"index": index, "value": value, "op": f"SCMP_CMP_{op}", **more}


@pytest.mark.parametrize(("word", "number"), [
    ("SCMP_ACT_KILL", KILL_THREAD), ("SCMP_ACT_KILL_THREAD", KILL_THREAD), ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
    ("SCMP_ACT_TRAP", TRAP), ("SCMP_ACT_ERRNO", ERRNO | 1), ("SCMP_ACT_TRACE", TRACE | 1), ("SCMP_ACT_LOG", LOG),
    ("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_NOTIFY", NOTIFY),
])  # fmt: skip
def test_action(word: str, number: int) -> None:
    assert seccomp.make_filter(section(call("sendmsg", "read"), default=word)).default == number
    other = "SCMP_ACT_LOG" if word != "SCMP_ACT_LOG" else "SCMP_ACT_ALLOW"
    assert seccomp.make_filter(section(call("read", action=word), default=other)).rules[0].action == number


@pytest.mark.parametrize("errno", [0, 1, 38, 4095])
def test_errno(errno: int) -> None:
    made = seccomp.make_filter(section(call("read", action="SCMP_ACT_ERRNO", errnoRet=errno), default="SCMP_ACT_ALLOW"))
    assert made.rules[0].action == ERRNO | errno
    assert seccomp.make_filter(section(defaultErrnoRet=errno)).default == ERRNO | errno


@pytest.mark.parametrize("errno", [0x10000, 0x7FFF0000, 0x7FFA0001, 2**32 - 1])
@pytest.mark.parametrize("word", ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"])
def test_an_errno_never_becomes_another_action(word: str, errno: int) -> None:
    """errnoRet is any 32-bit number to the spec; 0x7fff0000 of them would make `allow` of `errno`."""
    kind = {"SCMP_ACT_ERRNO": ERRNO, "SCMP_ACT_TRACE": TRACE}[word]
    for one in (
        section(default=word, defaultErrnoRet=errno),
        section(call("read", action=word, errnoRet=errno), default="SCMP_ACT_ALLOW"),
    ):
        try:
            made = seccomp.make_filter(one)
        except SpecError as error:
            assert "rrnoRet" in error.message
        else:
            action = made.rules[0].action if made.rules else made.default
            assert action & ACTION_FULL == kind


@pytest.mark.parametrize(("calls", "default", "refused"), [
    ([call("mount", action="SCMP_ACT_NOTIFY")], "ALLOW", ""),
    ([call("mount", action="SCMP_ACT_NOTIFY")], "LOG", ""),
    ([call("mount", "read", action="SCMP_ACT_NOTIFY")], "ALLOW", ""),
    ([call("mount", action="SCMP_ACT_NOTIFY"), call("read", "sendmsg")], "ERRNO", ""),
    ([call("sendmsg")], "NOTIFY", ""),
    ([], "NOTIFY", "`sendmsg`, not SCMP_ACT_NOTIFY"),
    ([call("sendmsg", action="SCMP_ACT_NOTIFY")], "ALLOW", "`sendmsg`, not SCMP_ACT_NOTIFY"),
    ([call("mount", action="SCMP_ACT_NOTIFY")], "ERRNO", "`sendmsg`, not SCMP_ACT_ERRNO"),
    ([call("mount", action="SCMP_ACT_NOTIFY"), call("sendmsg")], "KILL", "`read`, not SCMP_ACT_KILL"),
    ([call("mount", action="SCMP_ACT_NOTIFY"), call("read", action="SCMP_ACT_TRAP")], "ALLOW", "`read`, not SCMP_ACT_TRAP"),
    # under some conditions only: then the default is met too
    ([call("sendmsg", args=[arg(0)])], "NOTIFY", "`sendmsg`, not SCMP_ACT_NOTIFY"),
    ([call("mount", action="SCMP_ACT_NOTIFY"), call("sendmsg", args=[arg(0)], action="SCMP_ACT_ERRNO")], "ALLOW", "`sendmsg`, not SCMP_ACT_ERRNO"),
    # without an agent the init has nothing to hand over
    ([call("sendmsg", action="SCMP_ACT_KILL")], "ERRNO", ""),
])  # fmt: skip
def test_what_the_listener_needs_is_allowed(calls: list[Any], default: str, refused: str) -> None:
    """The init calls sendmsg(2) and read(2) after the filter is there and before anybody can answer for it."""
    try:
        seccomp.make_filter(section(*calls, default=f"SCMP_ACT_{default}"))
    except SpecError as error:
        assert refused
        assert f"a filter with SCMP_ACT_NOTIFY must allow {refused}:" in error.message
    else:
        assert not refused


def config(*calls: Any, annotations: Any = None, **more: Any) -> Any:
    return {"annotations": annotations or {}, "linux": {"seccomp": section(*calls, **more)}}


ASKED = call("mount", action="SCMP_ACT_NOTIFY")


@pytest.mark.parametrize(("config", "found"), [
    ({}, ("", "")),
    ({"linux": {"seccomp": None}}, ("", "")),
    (config(), ("", "")),
    (config(listenerPath="/s", listenerMetadata="m"), ("", "")),  # nobody is asked
    (config(annotations={"run.oci.seccomp.receiver": "/r"}), ("", "")),
    (config(ASKED, listenerPath="/s"), ("/s", "")),
    (config(ASKED, listenerPath="/s", listenerMetadata="m"), ("/s", "m")),
    (config(default="SCMP_ACT_NOTIFY", listenerPath="s/t"), ("/bundle/s/t", "")),
    (config(ASKED, annotations={"run.oci.seccomp.receiver": "/r"}), ("/r", "")),
    (config(ASKED, listenerPath="/s", annotations={"run.oci.seccomp.receiver": "/r"}), ("/s", "")),
])  # fmt: skip
def test_listener(config: Any, found: tuple[str, str]) -> None:
    assert seccomp.listener(config, "/bundle", "") == found
    # what the environment says is the last word
    assert seccomp.listener(config, "/bundle", "/e") == found


def test_listener_of_the_environment() -> None:
    assert seccomp.listener(config(ASKED), "/bundle", "/e") == ("/e", "")
    assert seccomp.listener(config(ASKED, listenerMetadata="m"), "/bundle", "e") == ("/bundle/e", "m")


def bring(text: str) -> Any:
    return config(ASKED, annotations={"run.oci.seccomp_bpf_data": text})


def test_program_that_is_brought() -> None:
    allow = bytes([6, 0, 0, 0, 0, 0, 0xFF, 0x7F])
    assert seccomp.given(config()) == b""
    assert seccomp.given(bring(base64.b64encode(allow).decode())) == allow
    assert seccomp.given(bring(base64.b64encode(allow * 4096).decode())) == allow * 4096
    # it stands in the place of the whole section: nobody is asked
    assert seccomp.listener(bring(base64.b64encode(allow).decode()), "/bundle", "/e") == ("", "")


@pytest.mark.parametrize(("text", "complaint"), [
    ("", "0 bytes are no program: 1 to 4096 instructions of 8 bytes"),
    ("AAAA", "3 bytes are no program: 1 to 4096 instructions of 8 bytes"),
    ("A" * 43704, "32778 bytes are no program: 1 to 4096 instructions of 8 bytes"),
    ("BgAAAAAA/38", "not base64"), ("BgAA AAAA/38=", "not base64"), ("BgAAAAAA/38=\n", "not base64"),
    ("BgAAAAAA_38=", "not base64"), ("bä", "not base64"), ("=", "not base64"),
])  # fmt: skip
def test_program_that_is_none(text: str, complaint: str) -> None:
    with pytest.raises(SpecError) as caught:
        seccomp.given(bring(text))
    assert caught.value.message == f"config.json: annotations: run.oci.seccomp_bpf_data: {complaint}"


@pytest.mark.parametrize(("value", "strict"), [(None, False), ("0", False), ("1", True), ("", True), ("false", True)])
def test_calls_that_nobody_knows(value: str | None, strict: bool) -> None:
    """Any value but "0", as crun has it."""
    said = {} if value is None else {"run.oci.seccomp_fail_unknown_syscall": value}
    assert seccomp.strict(config(annotations=said)) is strict
    assert seccomp.make_filter(section(), strict).whole is strict


def test_somebody_must_be_there_to_be_asked() -> None:
    with pytest.raises(SpecError) as caught:
        seccomp.listener(config(ASKED), "/bundle", "")
    assert caught.value.message == "config.json: linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath"


def test_rules_that_say_the_default_again_are_left_out() -> None:
    """libseccomp refuses them (EACCES). Another errno is another action."""
    again = call("read", action="SCMP_ACT_ERRNO")
    other = call("write", action="SCMP_ACT_ERRNO", errnoRet=38)
    assert [rule.names for rule in seccomp.make_filter(section(again, other)).rules] == [["write"]]


def test_conditions() -> None:
    made = seccomp.make_filter(section(call(
        "clone",
        args=[
            arg(0, "NE", 1), arg(1, "LT", 2), arg(2, "LE", 3), arg(3, "EQ", 2**64 - 1), arg(4, "GE", 5), arg(5, "GT", 6),
        ],
    )))  # fmt: skip
    # enum scmp_compare: NE 1, LT 2, LE 3, EQ 4, GE 5, GT 6, MASKED_EQ 7
    assert made.rules[0].conditions == [
        (0, 1, 1, 0), (1, 2, 2, 0), (2, 3, 3, 0), (3, 4, 2**64 - 1, 0), (4, 5, 5, 0), (5, 6, 6, 0),
    ]  # fmt: skip
    masked = seccomp.make_filter(section(call("clone", args=[arg(0, "MASKED_EQ", 0x7E020000, valueTwo=9)])))
    assert masked.rules[0].conditions == [(0, 7, 0x7E020000, 9)]


def test_conditions_on_one_argument_are_alternatives() -> None:
    made = seccomp.make_filter(section(call("socket", args=[arg(0, "EQ", 1), arg(0, "EQ", 2)])))
    assert [rule.conditions for rule in made.rules] == [[(0, 4, 1, 0)], [(0, 4, 2, 0)]]
    together = seccomp.make_filter(section(call("socket", args=[arg(0, "EQ", 16), arg(2, "EQ", 9)])))
    assert [rule.conditions for rule in together.rules] == [[(0, 4, 16, 0), (2, 4, 9, 0)]]


def test_order_is_the_config_s() -> None:
    made = seccomp.make_filter(
        section(call("b", "a"), call("c", action="SCMP_ACT_LOG"), call("a", action="SCMP_ACT_KILL"))
    )
    assert [(rule.names, rule.action) for rule in made.rules] == [
        (["b", "a"], ALLOW),
        (["c"], LOG),
        (["a"], KILL_THREAD),
    ]


@pytest.mark.parametrize(("flags", "number", "with_listener"), [
    (None, 4, 12),  # absent: as runc and crun do, SPEC_ALLOW
    ([], 0, 8),
    (["SECCOMP_FILTER_FLAG_TSYNC"], 0, 8),
    (["SECCOMP_FILTER_FLAG_LOG"], 2, 10),
    (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4, 12),
    (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"], 6, 14),
    (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_LOG"], 2, 10),
    (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0, 40),  # EINVAL to the kernel without a listener
])  # fmt: skip
def test_flags(flags: Any, number: int, with_listener: int) -> None:
    named = {} if flags is None else {"flags": flags}
    assert seccomp.flags(section(**named)) == number
    assert seccomp.flags(section(ASKED, **named)) == with_listener


def test_architectures() -> None:
    made = seccomp.make_filter(section(architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]))
    assert made.architectures == ["x86_64", "x32", "aarch64"]
    assert seccomp.make_filter({"defaultAction": "SCMP_ACT_ALLOW"}) == seccomp.Filter(ALLOW, [], [], [])


@pytest.mark.parametrize(("default", "errno", "denies"), [
    ("ERRNO", None, True), ("ERRNO", 1, True), ("ERRNO", 13, False), ("ERRNO", 38, False), ("KILL", None, False),
    ("TRACE", 1, False), ("ALLOW", None, False),
])  # fmt: skip
def test_what_is_newer_than_the_section(default: str, errno: int | None, denies: bool) -> None:
    more = {} if errno is None else {"defaultErrnoRet": errno}
    made = seccomp.make_filter(
        section(call("read"), call("acct", action="SCMP_ACT_ERRNO"), default=f"SCMP_ACT_{default}", **more)
    )
    assert made.denies_the_new is denies
    assert made.known == ["read", "acct"], "what is denied is known, too"

"""process: what comes before the wait for `start` and what after it, and the ops of each member."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import ops, process
from tests.unit.plans import config, facts, names, request

PROGRAM = bytes(16)


def planned(asked: Any = None, program: bytes = b"", flags: int = 0, **top: Any) -> list[ops.Op]:
    made = config(process=asked, **top)
    return process.plan(made, facts(), request(), program, flags)[0]


def at(made: list[ops.Op], kind: type[ops.Op]) -> int:
    (found,) = (index for index, op in enumerate(made) if isinstance(op, kind))
    return found


def only(made: list[ops.Op], kind: type[ops.Op]) -> Any:
    return made[at(made, kind)]


# -- the order

ALWAYS_BEFORE = ["umask", "chdir", "bounding", "user", "chdir"]


@pytest.mark.parametrize(("no_new_privileges", "program", "before", "after"), [
    (False, b"", ["capabilities"], []),
    (True, b"", ["capabilities", "no_new_privileges"], []),
    # seccomp(2) wants CAP_SYS_ADMIN or no_new_privs: so either the capabilities go after the filter, or they are gone
    (False, PROGRAM, [], ["seccomp", "capabilities"]),
    (True, PROGRAM, ["capabilities", "no_new_privileges"], ["seccomp"]),
])  # fmt: skip
def test_order_round_the_wait(no_new_privileges: bool, program: bytes, before: list[str], after: list[str]) -> None:
    made = names(planned({"noNewPrivileges": no_new_privileges}, program))
    assert made == [
        "keyring", *ALWAYS_BEFORE, *before, "find_executable", "await", "await_start", *after, "execute",
    ]  # fmt: skip


def test_whole_order() -> None:
    made = planned(
        {
            "user": {"uid": 1000, "gid": 1000},
            "env": [],
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
            "terminal": True,
        },
        PROGRAM,
        hostname="h",
        domainname="d",
        linux={
            "namespaces": [{"type": "mount"}],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "personality": {"domain": "LINUX32"},
        },
    )
    assert names(made) == [
        # needs privileges that the process may lose below
        "hostname", "domainname", "sysctl", "keyring", "personality", "rlimit", "umask", "own_stdio",
        "chdir", "bounding", "user", "chdir", "home", "find_executable",
        "await", "await_start",
        "seccomp", "capabilities", "execute",
    ]  # fmt: skip


@pytest.mark.parametrize("program", [b"", PROGRAM])
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_why_it_is_safe(program: bytes, no_new_privileges: bool) -> None:
    made = planned(
        {"noNewPrivileges": no_new_privileges, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]}, program
    )
    user, capabilities, execute = at(made, ops.User), at(made, ops.Capabilities), at(made, ops.Execute)
    # PR_CAPBSET_DROP needs CAP_SETPCAP, raising a hard limit CAP_SYS_RESOURCE: before either is given up
    assert max(at(made, ops.Bounding), at(made, ops.Rlimit)) < user < capabilities
    # what can fail is found out by `create`
    assert at(made, ops.FindExecutable) < at(made, ops.AwaitStart)
    # the state is written before anybody can start it
    assert at(made, ops.Await) + 1 == at(made, ops.AwaitStart)
    assert made[at(made, ops.Await)] == ops.Await(1)
    # nothing follows the execve, and nothing but the capabilities may come between a filter and it
    assert execute == len(made) - 1
    if program:
        rest = made[at(made, ops.Seccomp) + 1 : execute]
        assert names(rest) == ([] if no_new_privileges else ["capabilities"])


def test_run_does_not_wait_for_start() -> None:
    made = process.plan(config(), facts(), request(wait_for_start=False), b"", 0)[0]
    assert "await_start" not in names(made)
    assert names(made)[-2:] == ["await", "execute"]  # but still for the state


def test_seccomp_takes_program_and_flags() -> None:
    assert only(planned(program=PROGRAM, flags=4), ops.Seccomp) == ops.Seccomp(PROGRAM, 4)


# -- the ops


def test_working_directory_is_tried_as_root_and_as_the_user() -> None:
    made = planned({"cwd": "/srv", "user": {"uid": 7, "gid": 7}})
    first, second = (index for index, op in enumerate(made) if isinstance(op, ops.Chdir))
    assert (made[first], made[second]) == (ops.Chdir("/srv", 0), ops.Chdir("/srv", 1))
    assert first < at(made, ops.User) < second < at(made, ops.Capabilities)


@pytest.mark.parametrize(
    ("user", "umask"),
    [
        ({"uid": 0, "gid": 0}, 0o022),
        ({"uid": 0, "gid": 0, "umask": 0o077}, 0o077),
        ({"uid": 0, "gid": 0, "umask": 0}, 0),
    ],
)
def test_umask(user: Any, umask: int) -> None:
    assert only(planned({"user": user}), ops.Umask) == ops.Umask(umask)


@pytest.mark.parametrize(
    ("uid", "terminal", "given"), [(0, False, False), (0, True, True), (1, False, True), (1, True, True)]
)
def test_stdio_is_given_to_whoever_is_not_its_owner(uid: int, terminal: bool, given: bool) -> None:
    made = planned({"user": {"uid": uid, "gid": 0}, "terminal": terminal})
    assert ("own_stdio" in names(made)) is given
    if given:
        assert only(made, ops.OwnStdio) == ops.OwnStdio(uid)
        assert at(made, ops.OwnStdio) < at(made, ops.User)


@pytest.mark.parametrize(("key", "path"), [
    ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
    ("net/ipv4/conf/eth0.1/forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
    ("kernel.msgmax", "sys/kernel/msgmax"),
])  # fmt: skip
def test_sysctl(key: str, path: str) -> None:
    made = planned(linux={"namespaces": [{"type": "mount"}], "sysctl": {key: "1 2"}})
    assert only(made, ops.Sysctl) == ops.Sysctl(path, "1 2")


def test_keyring_is_named_after_the_container() -> None:
    assert only(planned(), ops.Keyring) == ops.Keyring("c1")
    made = process.plan(config(), facts(), request(new_keyring=False), b"", 0)[0]
    assert "keyring" not in names(made)


@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality(domain: str, number: int) -> None:
    """personality(2): PER_LINUX 0, PER_LINUX32 8."""
    made = planned(linux={"namespaces": [{"type": "mount"}], "personality": {"domain": domain}})
    assert only(made, ops.Personality) == ops.Personality(number)


def test_rlimits() -> None:
    """asm-generic/resource.h, in the order of the config: soft = rlim_cur, hard = rlim_max exactly (PRC5)."""
    kinds = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    asked = [{"type": f"RLIMIT_{kind}", "soft": n, "hard": 2**64 - 1 - n} for n, kind in enumerate(kinds)]
    made = [op for op in planned({"rlimits": asked[::-1]}) if isinstance(op, ops.Rlimit)]
    assert made[::-1] == [ops.Rlimit(n, n, 2**64 - 1 - n) for n in range(16)]


@pytest.mark.parametrize(("limit", "message"), [
    ({"type": "RLIMIT_FOO", "soft": 1, "hard": 1}, "rlimits[1].type: unknown limit `RLIMIT_FOO`"),
    ({"type": "NOFILE", "soft": 1, "hard": 1}, "rlimits[1].type: unknown limit `NOFILE`"),
    ({"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}, "rlimits[1]: soft is greater than hard"),
    ({"type": "RLIMIT_NOFILE", "soft": 2**64 - 1, "hard": 2**63}, "rlimits[1]: soft is greater than hard"),
])  # fmt: skip
def test_rlimit_that_cannot_be(limit: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned({"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, limit]})
    assert caught.value.message == f"config.json: process.{message}"


# -- what it runs

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize(("env", "path"), [
    ([], DEFAULT_PATH),
    (["PATH=/a:/b"], "/a:/b"),
    (["PATH="], ""),
    (["PATH=/a", "PATH=/b"], "/b"),
    (["XPATH=/x", "PATH", "path=/y"], DEFAULT_PATH),
])  # fmt: skip
def test_search_path_is_the_container_s(env: list[str], path: str) -> None:
    assert only(planned({"env": env, "args": ["ls", "-l"]}), ops.FindExecutable) == ops.FindExecutable("ls", path)


@pytest.mark.parametrize(("env", "looked_up"), [
    ([], True), (["HOME=/root"], False), (["HOME="], False), (["HOME"], True), (["XHOME=/x"], True),
])  # fmt: skip
def test_home_is_looked_up_when_the_config_names_none(env: list[str], looked_up: bool) -> None:  # F056b, F135
    made = planned({"env": env, "user": {"uid": 7, "gid": 8}})
    assert ("home" in names(made)) is looked_up
    if looked_up:
        assert only(made, ops.Home) == ops.Home(7)


def test_execute_has_the_config_s_words_and_no_others() -> None:
    made = planned({"args": ["a", "", "b c"], "env": ["X=1", "NOTHING", "X=2"]})
    assert made[-1] == ops.Execute(["a", "", "b c"], ["X=1", "NOTHING", "X=2"])


def test_config_without_a_process() -> None:  # PRC1: `create` makes the environment
    made = {"ociVersion": "1.0.0", "root": {"path": "r"}, "linux": {"namespaces": [{"type": "mount"}]}}
    steps, warnings = process.plan(made, facts(), request(), b"", 0)  # type: ignore[arg-type]
    assert warnings == []
    assert {"find_executable", "home"}.isdisjoint(names(steps))
    assert only(steps, ops.Capabilities) == ops.Capabilities(0, 0, 0, 0)
    assert "await_start" in names(steps)
    for op in steps:
        assert op.describe()
        assert op.complaint()


def test_warnings_come_with_the_plan() -> None:
    made = config(process={"capabilities": {"bounding": ["CAP_MADE_UP"]}})
    assert process.plan(made, facts(), request(), b"", 0)[1] == [
        "process.capabilities.bounding: unknown capability `CAP_MADE_UP`"
    ]

"""process: what comes before the wait for `start` and what after it, and the ops of each member."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import ops, plan, process, words
from tests.unit.plans import config, facts, names, request

PROGRAM = bytes(16)


def planned(asked: Any = None, program: bytes = b"", flags: int = 0, **top: Any) -> list[ops.Op]:
    made = config(process=asked, **top)
    return process.plan(made, facts(apparmor="unconfined", selinux=True), request(), program, flags)[0]


def at(made: list[ops.Op], kind: type[ops.Op]) -> int:
    (found,) = (index for index, op in enumerate(made) if isinstance(op, kind))
    return found


def only(made: list[ops.Op], kind: type[ops.Op]) -> Any:
    return made[at(made, kind)]


# -- the order

ALWAYS_BEFORE = ["every_cpu", "umask", "chdir", "bounding", "user", "chdir"]


@pytest.mark.parametrize(("no_new_privileges", "program", "before", "after"), [
    (False, b"", ["capabilities"], []),
    (True, b"", ["capabilities", "no_new_privileges"], []),
    # seccomp(2) wants CAP_SYS_ADMIN or no_new_privs: so either the capabilities go after the filter, or they are gone
    (False, PROGRAM, ["capabilities"], ["seccomp", "capabilities"]),
    (True, PROGRAM, ["capabilities", "no_new_privileges"], ["seccomp"]),
])  # fmt: skip
def test_order_round_the_wait(no_new_privileges: bool, program: bytes, before: list[str], after: list[str]) -> None:
    made = names(planned({"noNewPrivileges": no_new_privileges}, program))
    assert made == [
        "keyring", *ALWAYS_BEFORE, *before, "find_executable", "await", "await_start", "close_on_exec", *after,
        "execute",
    ]  # fmt: skip


def test_whole_order() -> None:
    made = planned(
        {
            "user": {"uid": 1000, "gid": 1000},
            "env": [],
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
            "scheduler": {"policy": "SCHED_BATCH"},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "selinuxLabel": "u:r:t:s0",
            "apparmorProfile": "docker-default",
            "terminal": True,
        },
        PROGRAM,
        hostname="h",
        domainname="d",
        linux={
            "namespaces": [{"type": "mount"}],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "personality": {"domain": "LINUX32"},
            "memoryPolicy": {"mode": "MPOL_LOCAL"},
            "mountLabel": "u:r:m:s0",
        },
        mounts=[{"destination": "/dev/mqueue", "type": "mqueue"}],
    )
    assert names(made) == [
        # needs privileges that the process may lose below
        "hostname", "domainname", "sysctl", "label_file", "key_label", "keyring", "every_cpu",
        "personality", "memory_policy", "scheduler", "io_priority", "rlimit", "umask",
        "selinux_label", "app_armor", "own_stdio",
        "chdir", "bounding", "user", "chdir", "capabilities", "home", "find_executable",
        "await", "await_start", "close_on_exec",
        "seccomp", "capabilities", "execute",
    ]  # fmt: skip


@pytest.mark.parametrize("program", [b"", PROGRAM])
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_why_it_is_safe(program: bytes, no_new_privileges: bool) -> None:
    made = planned(
        {"noNewPrivileges": no_new_privileges, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]}, program
    )
    user, capabilities, execute = at(made, ops.User), names(made).index("capabilities"), at(made, ops.Execute)
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
    assert names(made)[-3:] == ["await", "close_on_exec", "execute"]  # but still for the state


def test_seccomp_takes_program_and_flags() -> None:
    assert only(planned(program=PROGRAM, flags=4), ops.Seccomp) == ops.Seccomp(PROGRAM, 4)


def test_filter_needs_one_capability_more_than_the_program() -> None:
    """A change of user leaves no capability effective, and without new privileges a filter takes CAP_SYS_ADMIN."""
    wanted = {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}
    made = planned({"user": {"uid": 1000, "gid": 1000}, "capabilities": wanted}, PROGRAM)
    kill, admin = 1 << 5, 1 << 21
    first, last = (op for op in made if isinstance(op, ops.Capabilities))
    assert first == ops.Capabilities(kill | admin, kill | admin, 0, 0)
    assert last == ops.Capabilities(kill, kill, 0, 0)
    confined = planned({"noNewPrivileges": True, "capabilities": wanted}, PROGRAM)
    assert only(confined, ops.Capabilities) == last


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_listener_is_handed_over_right_after_the_filter(no_new_privileges: bool) -> None:
    """From then on every call may wait for an answer; before it, nobody could give one."""
    made = planned({"noNewPrivileges": no_new_privileges}, PROGRAM, 8)
    filtered = at(made, ops.Seccomp)
    assert made[filtered + 1] == ops.Await(words.LISTENER_GATE)
    assert names(made)[filtered + 2 :] == (["execute"] if no_new_privileges else ["capabilities", "execute"])


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
    assert only(planned(), ops.Keyring) == ops.Keyring("_ses.c1")
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
    assert made[::-1] == [ops.Rlimit(0, n, n, 2**64 - 1 - n) for n in range(16)]


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


@pytest.mark.parametrize(("manager", "cgroup"), [("auto", True), ("cgroupfs", True), ("disabled", False)])
def test_affinity_of_the_caller_is_undone_where_a_cgroup_says_what_it_may_run_on(manager: str, cgroup: bool) -> None:
    made = config(linux={"cgroupsPath": "/place"} if manager == "cgroupfs" else {})
    assert ("every_cpu" in names(plan.make(made, facts(), request(manager=manager)).ops)) is cgroup


@pytest.mark.parametrize("path", [None, "/proc/7/ns/user"])
def test_what_needs_the_first_user_namespace_is_done_from_it(path: str | None) -> None:
    """CAP_SYS_NICE and CAP_SYS_RESOURCE of another one are not asked (sched_setattr(2), getrlimit(2))."""
    asked: Any = {
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "scheduler": {"policy": "SCHED_FIFO", "priority": 1},
        "ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 4},
    }
    spaces = [{"type": "mount"}, {"type": "user", **({"path": path} if path else {})}]
    made = config(process=asked, linux={"namespaces": spaces})
    special = ["scheduler", "io_priority", "rlimit"]
    assert names(process.outside(made["process"], made)) == special
    assert set(names(planned(asked, linux={"namespaces": spaces}))).isdisjoint(special)
    assert names(process.outside(made["process"], config(process=asked))) == []
    assert [name for name in names(planned(asked)) if name in special] == special


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

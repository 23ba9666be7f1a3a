"""The MUSTs of config-linux.md on seccomp, seen by a program that makes directories, and by an agent that listens."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Container, Run
from tests.integration.must_scene import SECONDS, crun_does_not
from tests.unit.bad_configs import without

MKDIR = ["mkdir", "mkdirat"]
RULE = {"names": MKDIR, "action": "SCMP_ACT_ERRNO"}
ARGUMENT = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
TRY = "mkdir /tmp/new 2>&1 | sed 's/.*: //'"
Wait = Callable[..., Any]


def filtered(container: Container, *rules: dict[str, Any], **members: Any) -> None:
    """Give a container a profile that allows what no rule speaks of."""
    container.config["root"]["readonly"] = False
    container.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **members}


NUMBERS = [
    (None, "Operation not permitted"),
    (errno.ENOSPC, "No space left on device"),
    (errno.ENOSYS, "Function not implemented"),
]


@crun_does_not("takes a compiled profile out of its cache that differs in errnoRet")
@pytest.mark.parametrize(("number", "words"), NUMBERS)
def test_must_SEC1(container: Container, number: int | None, words: str) -> None:
    """A rule applies to the calls that it names."""
    filtered(container, RULE if number is None else RULE | {"errnoRet": number})
    assert container.says(TRY) == words


BAD_PROFILES = [
    pytest.param({"syscalls": [RULE]}, "", id="no defaultAction"),
    pytest.param(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [without("names", **RULE)]}, "syscalls.0", id="no names"
    ),
    pytest.param(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [RULE | {"names": []}]}, "syscalls.0.names", id="empty names"
    ),
    pytest.param(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [without("action", **RULE)]}, "syscalls.0", id="no action"
    ),
    *[
        pytest.param(
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [RULE | {"args": [without(member, **ARGUMENT)]}]},
            "syscalls.0.args.0",
            id=f"no {member}",
        )
        for member in ARGUMENT
    ],
]


@crun_does_not("takes it in silence, or leaves a cgroup behind")
@pytest.mark.parametrize(("profile", "where"), BAD_PROFILES)
def test_must_SEC1_required(container: Container, profile: dict[str, Any], where: str) -> None:
    container.config["linux"]["seccomp"] = profile
    container.refused(f"linux.seccomp.{where}".rstrip("."))


WITHOUT_ERRNO = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRAP",
]


@crun_does_not("ignores it, or leaves a cgroup behind")
@pytest.mark.parametrize("action", WITHOUT_ERRNO)
@pytest.mark.parametrize("where", ["errnoRet", "defaultErrnoRet"])
def test_must_SEC2(container: Container, action: str, where: str) -> None:
    """An errno for an action that has none is an error."""
    if where == "errnoRet":
        filtered(container, RULE | {"action": action, "errnoRet": 1})
    else:
        filtered(container, RULE, defaultAction=action, defaultErrnoRet=1)
    container.refused("rrnoRet")


class Agent:
    """What listens for the descriptors of filters, and answers what they ask."""

    RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_*

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(SECONDS)
        self.descriptors: list[int] = []

    def state(self) -> tuple[dict[str, Any], list[int]]:
        """Return what one connection says from its beginning to its end, and the descriptors of its first message."""
        with self.listener.accept()[0] as connection:
            connection.settimeout(SECONDS)
            said, descriptors, _, _ = socket.recv_fds(connection, 65536, 8)
            self.descriptors += descriptors
            while piece := connection.recv(65536):
                said += piece
        state: dict[str, Any] = json.loads(said)
        return state, descriptors

    def nobody_else(self) -> bool:
        """Say whether no other connection waits."""
        return not select.select([self.listener], [], [], 0.1)[0]

    def answer(self, descriptor: int, number: int) -> None:
        """Let the next call that the filter asks about fail."""
        assert select.select([descriptor], [], [], SECONDS)[0], "nobody asks"
        question = bytearray(80)
        fcntl.ioctl(descriptor, self.RECEIVE, question)
        fcntl.ioctl(descriptor, self.SEND, struct.pack("=QqiI", *struct.unpack_from("=Q", question), 0, -number, 0))


@pytest.fixture
def agent(tmp_path: pathlib.Path) -> Iterator[Agent]:
    """Return an agent that listens."""
    it = Agent(tmp_path / "agent.sock")
    yield it
    it.listener.close()
    for descriptor in it.descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


NOTIFY = {"names": MKDIR, "action": "SCMP_ACT_NOTIFY"}


def test_must_SEC3(container: Container, agent: Agent, wait_until: Wait) -> None:
    """One connection for one state, in JSON, with the descriptor in the first message; it is closed after that."""
    filtered(container, NOTIFY, listenerPath=str(agent.path))
    container.create(f"({TRY}) >/said; echo >>/said; exec sleep 1000")
    container.start()
    state, [descriptor] = agent.state()
    assert state["fds"] == ["seccompFd"]
    assert agent.nobody_else()
    agent.answer(descriptor, errno.ENOSPC)
    said = container.bundle.rootfs / "said"
    wait_until(lambda: said.exists() and said.read_text().endswith("\n\n"), "the program")
    assert said.read_text() == "No space left on device\n\n"
    container.delete()


@pytest.mark.parametrize("case", ["nobody listens", "no such path", "another kind of socket"])
def test_must_SEC3_failure(container: Container, run: Run, tmp_path: pathlib.Path, case: str) -> None:
    """Nobody to send it to: an error, and the program does not run."""
    path = tmp_path / "agent.sock"
    with socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM if case == "another kind of socket" else socket.SOCK_STREAM
    ) as it:
        if case != "no such path":
            it.bind(str(path))
        filtered(container, NOTIFY, listenerPath=str(path))
        container.bundle.sh("echo ran >/said")
        done = run("run", "--bundle", container.bundle.path, container.name)
    assert done.returncode != 0
    assert done.stderr.strip()
    assert not (container.bundle.rootfs / "said").exists()


@pytest.mark.parametrize("metadata", [None, "", 'what the agent knows it by: ä\n"'], ids=repr)
def test_must_SEC4(container: Container, agent: Agent, metadata: str | None) -> None:
    """The state names version, pid, descriptors, metadata and the state of the container."""
    container.config["annotations"] = {"org.example.key": "value"}
    filtered(
        container, NOTIFY, listenerPath=str(agent.path), **({} if metadata is None else {"listenerMetadata": metadata})
    )
    container.create()
    container.start()
    said, descriptors = agent.state()
    now = container.state()
    assert said["fds"] == ["seccompFd"] and len(descriptors) == 1
    assert said["pid"] == now["pid"]
    assert said.get("metadata", "") == (metadata or "")
    assert [int(part) for part in said["ociVersion"].split(".")] >= [0, 2, 0]
    same = ("id", "pid", "bundle", "annotations")
    assert {key: said["state"][key] for key in same} == {key: now[key] for key in same}
    assert said["state"]["status"] in ("creating", "created", "running")
    container.delete()


@crun_does_not("says 0.2.0 (D9)")
def test_must_SEC4_version(container: Container, agent: Agent) -> None:
    filtered(container, NOTIFY, listenerPath=str(agent.path))
    container.create()
    container.start()
    said, _ = agent.state()
    assert said["ociVersion"] == said["state"]["ociVersion"] == container.state()["ociVersion"]
    container.delete()


@crun_does_not("ignores it")
@pytest.mark.parametrize("rule", [RULE, NOTIFY], ids=["no listener", "a listener"])
def test_must_SEC5(container: Container, rule: dict[str, Any]) -> None:
    """Metadata for nobody is an error."""
    filtered(container, rule, listenerMetadata="for nobody")
    container.refused("linux.seccomp.listener")

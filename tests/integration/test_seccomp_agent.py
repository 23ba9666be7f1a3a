"""A filter that asks: its listener goes to an agent, which answers (config-linux.md, seccomp; seccomp_unotify(2)).

crun 1.21 keeps the connection open as long as the container of `run` lives, and takes SCMP_ACT_NOTIFY without anybody
to ask.

Seen red:
    all but the refusals       the listener not passed on
    an agent that goes away    an empty remainder sent after the state: a broken pipe
"""

from __future__ import annotations

import json
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.seccomp_scene import MKDIR, REFUSED, SAID, Agent, filtered, refuse_mkdir, rule


@pytest.fixture
def agent(tmp_path: pathlib.Path) -> Iterator[Callable[..., Agent]]:
    """Return what starts an agent at a path; `answer` gives the errno for a call, 0 to let it go on."""
    agents: list[Agent] = []

    def start(answer: Callable[[int], int] = lambda number: 0) -> Agent:
        agents.append(Agent(str(tmp_path / "agent"), answer))
        return agents[-1]

    yield start
    for each in agents:
        each.close()


def asking(bundle: Bundle, tmp_path: pathlib.Path, *names: str, **more: Any) -> Bundle:
    """Have the agent asked about some calls."""
    return filtered(bundle, rule("NOTIFY", *names), listenerPath=str(tmp_path / "agent"), **more)


@pytest.mark.parametrize("privileged", [False, True])
def test_agent_of_run(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, agent: Any, privileged: bool
) -> None:
    """SEC3, SEC4: one state for one connection, the descriptor with its first byte, and then the connection ends."""
    answering = agent(refuse_mkdir)
    bundle.config["process"]["noNewPrivileges"] = not privileged
    bundle.config["annotations"] = {"a": "b"}
    asking(bundle, tmp_path, "mkdir", "mkdirat", listenerMetadata="in words").sh("mkdir /new; exit 3")
    done = run("run", "--bundle", bundle.path, container_id)
    assert (done.returncode, done.stderr) == (3, SAID)
    (state,) = answering.states
    assert set(answering.asked) <= MKDIR
    assert state["fds"] == ["seccompFd"]
    assert state["metadata"] == "in words"
    assert state["pid"] == state["state"]["pid"] > 0
    assert state["state"]["id"] == container_id
    assert state["state"]["bundle"] == str(bundle.path)
    assert state["state"]["annotations"]["a"] == "b"


def test_agent_of_start(run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, agent: Any) -> None:
    """The filter is loaded when the program starts, so `start` is who gets its listener."""
    answering = agent(refuse_mkdir)
    asking(bundle, tmp_path, "mkdir", "mkdirat").sh("mkdir /new 2>/dev/shm/said; exec sleep 100")
    run("create", "--bundle", bundle.path, container_id, check=True)
    pid = json.loads(run("state", container_id).stdout)["pid"]
    assert answering.states == []
    run("start", container_id, check=True)
    wait_for(lambda: answering.states != [])  # the listener has been sent, if not taken
    assert [(state["pid"], state["state"]["status"]) for state in answering.states] == [(pid, "created")]
    assert "metadata" not in answering.states[0]
    wait_for(lambda: read(f"/proc/{pid}/root/dev/shm/said") == SAID)


def test_agent_of_exec(run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, agent: Any) -> None:
    """What joins the container is filtered as it is, and has a listener of its own."""
    answering = agent(refuse_mkdir)
    asking(bundle, tmp_path, "mkdir", "mkdirat").args("sleep", "100")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    first = json.loads(run("state", container_id).stdout)["pid"]
    done = run("exec", container_id, "sh", "-c", "mkdir /new; exit 4")
    assert (done.returncode, done.stderr) == (4, SAID)
    one, other = answering.states
    assert (one["pid"], one["state"]["pid"]) == (first, first)
    assert other["state"]["pid"] == first != other["pid"]
    assert other["state"]["status"] == "running"


def test_agent_is_asked_about_the_very_program(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, agent: Any
) -> None:
    """The init's own calls after the filter may be trapped: by then the agent is there to answer."""
    answering = agent()
    bundle.config["process"]["noNewPrivileges"] = False
    names = ["execve", "capset", "capget", "prctl", "read", "close", "mmap"]
    asking(bundle, tmp_path, *names, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]).args("echo", "there")
    assert run("run", "--bundle", bundle.path, container_id, check=True).stdout == "there\n"
    assert {0, 59, 126, 157} <= set(answering.asked)


def test_agent_that_forbids_the_program(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, agent: Any
) -> None:
    agent(lambda number: REFUSED if number == 59 else 0)
    asking(bundle, tmp_path, "execve").args("true")
    done = run("run", "--bundle", bundle.path, container_id)
    assert (done.returncode, done.stderr) == (1, 'pyoci: exec: "true": no medium found\n')


def test_socket_may_be_relative_to_the_bundle(run: Run, bundle: Bundle, container_id: str, agent: Any) -> None:
    answering = agent(refuse_mkdir)
    filtered(bundle, rule("NOTIFY", "mkdir", "mkdirat"), listenerPath="../agent").sh("mkdir /new")
    assert run("run", "--bundle", bundle.path, container_id).stderr == SAID
    assert len(answering.states) == 1


def test_receiver_by_annotation(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, agent: Any
) -> None:
    """crun's and podman's way to say it."""
    answering = agent(refuse_mkdir)
    bundle.config["annotations"] = {"run.oci.seccomp.receiver": str(tmp_path / "agent")}
    filtered(bundle, rule("NOTIFY", "mkdir", "mkdirat")).sh("mkdir /new")
    assert run("run", "--bundle", bundle.path, container_id).stderr == SAID
    assert len(answering.states) == 1


def test_receiver_by_environment(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `create`: a client's `start` may have another, or none."""
    answering = agent(refuse_mkdir)
    filtered(bundle, rule("NOTIFY", "mkdir", "mkdirat")).sh("mkdir /new")
    monkeypatch.setenv("RUN_OCI_SECCOMP_RECEIVER", str(tmp_path / "agent"))
    run("create", "--bundle", bundle.path, container_id, check=True)
    monkeypatch.setenv("RUN_OCI_SECCOMP_RECEIVER", "/elsewhere")
    run("start", container_id, check=True)
    wait_for(lambda: json.loads(run("state", container_id).stdout)["status"] == "stopped")
    assert len(answering.states) == 1
    run("delete", container_id, check=True)


def test_no_agent(run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path) -> None:
    """SEC3: a failure to send is one of the container, and its program never runs."""
    asking(bundle, tmp_path, "mkdir").sh("echo it runs")
    wanted = f"pyoci: cannot send the listener of the seccomp filter to `{tmp_path}/agent`: No such file or directory\n"
    done = run("run", "--bundle", bundle.path, container_id)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", wanted)
    assert run("state", container_id).returncode == 1
    run("create", "--bundle", bundle.path, container_id, check=True)
    done = run("start", container_id)
    assert (done.returncode, done.stderr) == (1, wanted)
    wait_for(lambda: json.loads(run("state", container_id).stdout)["status"] == "stopped")
    run("delete", container_id, check=True)


def test_no_agent_for_exec(run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, agent: Any) -> None:
    agent(refuse_mkdir)
    asking(bundle, tmp_path, "mkdir").args("sleep", "100")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    (tmp_path / "agent").unlink()
    done = run("exec", container_id, "echo", "it runs")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot send the listener" in done.stderr
    assert run("exec", "--detach", container_id, "echo", "it runs").returncode == 1
    assert json.loads(run("state", container_id).stdout)["status"] == "running"


def test_agent_that_goes_away(run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path) -> None:
    """It takes the connection and dies: nobody answers, and the kernel says so to whoever asks (seccomp_unotify(2))."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "agent"))
    listening.listen()
    asking(bundle, tmp_path, "mkdir", "mkdirat").sh("mkdir /new")

    def leave() -> None:
        peer, _ = listening.accept()
        peer.recv(1)  # by itself it takes no descriptor
        peer.close()
        listening.close()

    thread = threading.Thread(target=leave)
    thread.start()
    done = run("run", "--bundle", bundle.path, container_id)
    thread.join(5)
    assert (done.returncode, done.stderr) == (1, SAID.replace("No medium found", "Function not implemented"))


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "nobody to ask": ({}, "linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath"),
    "metadata for nobody": ({"listenerMetadata": "x"}, "linux.seccomp.listenerMetadata needs listenerPath"),
    "sendmsg is asked about": (
        {"listenerPath": "/s", "syscalls": [rule("NOTIFY", "sendto", "sendmsg")]},
        "linux.seccomp: a filter with SCMP_ACT_NOTIFY must allow `sendmsg`, not SCMP_ACT_NOTIFY: "
        "the init passes the listener on with it",
    ),
    "read fails": (
        {"listenerPath": "/s", "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("ALLOW", "sendmsg"), rule("NOTIFY", "open")]},
        "linux.seccomp: a filter with SCMP_ACT_NOTIFY must allow `read`, not SCMP_ACT_ERRNO: "
        "the init passes the listener on with it",
    ),
    "an errno without its action": (
        {"listenerPath": "/s", "syscalls": [rule("NOTIFY", "open", errnoRet=3)]},
        "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_NOTIFY has no errno",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refused(run: Run, bundle: Bundle, container_id: str, name: str) -> None:
    """SEC2, SEC5; and what would leave the init waiting for an answer from nobody."""
    section, wanted = REFUSALS[name]
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("NOTIFY", "open")], **section,
    }  # fmt: skip
    bundle.write()
    for verb in ("run", "create"):
        done = run(verb, "--bundle", bundle.path, container_id)
        assert (done.returncode, done.stderr) == (1, f"pyoci: config.json: {wanted}\n")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read(path: str) -> str:
    try:
        return pathlib.Path(path).read_text()
    except FileNotFoundError:
        return ""

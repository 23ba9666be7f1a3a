"""The MUSTs of config.md and runtime.md on hooks: who is called when, where, and with what.

Every hook of a test, and the program, writes a line into one file: /log of the container's root file system.
"""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.integration.conftest import CRUN, Container, Run
from tests.integration.must_scene import crun_does_not

KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
AT_CREATE, AT_START, AT_DELETE = KINDS[:3], KINDS[3:5], KINDS[5:]
ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
# $1 is the label, $2 the log, $3 config.json; the container's process is looked at by who can see it
SCRIPT = """
state=$(cat)
pid=$(echo "$state" | sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p')
sees=$(test -e "$3" && echo the-host || echo the-container)
other=$(test -e "/proc/$pid/root$3" && echo the-host || echo the-container)
echo "$1 $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net) $(readlink /proc/$pid/ns/mnt || echo gone) $sees $other" $state >>"$2"
"""
Wait = Callable[..., Any]


class Call(NamedTuple):
    """What a hook has written."""

    label: str
    mount_namespace: str
    network_namespace: str
    of_the_process: str
    """the mount namespace of the container's process"""
    sees: str
    """whose file system the hook sees, at `/`"""
    process_sees: str
    """whose file system the container's process sees: after pivot_root(2) it is the container's"""
    state: dict[str, Any]


def hook(container: Container, kind: str, label: str | None = None) -> dict[str, Any]:
    """Return a hook that writes a line."""
    log = "/log" if kind == "startContainer" else f"{container.bundle.rootfs}/log"
    args = ["sh", "-c", SCRIPT, "sh", label or kind, log, f"{container.bundle.path}/config.json"]
    return {"path": "/bin/sh", "args": args, "env": ENVIRONMENT}


def calls(container: Container) -> list[Call]:
    """Return what hooks have written so far."""
    log = container.bundle.rootfs / "log"
    rows = [line.split(" ", 6) for line in log.read_text().splitlines()] if log.exists() else []
    return [Call._make([*row[:6], json.loads(row[6])]) for row in rows if row != ["program"]]


def labels(container: Container) -> list[str]:
    """Return the first words of the log."""
    log = container.bundle.rootfs / "log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def hooked(container: Container) -> Container:
    """Return a container with a hook of every kind, whose program writes a line too."""
    container.config["root"]["readonly"] = False
    container.config["annotations"] = {"org.example.key": "value"}
    container.config["hooks"] = {kind: [hook(container, kind)] for kind in KINDS}
    container.bundle.sh("echo program >>/log; exec sleep 1000")
    return container


def create(container: Container) -> None:
    """Create it with the program that it has."""
    container.bundle.write()
    container.run("create", "--bundle", container.bundle.path, container.name, check=True)


class Life(NamedTuple):
    """The hooks of a whole life."""

    call: dict[str, Call]
    at_create: list[str]
    at_start: list[str]
    at_delete: list[str]
    pid: int
    mount_namespace: str
    network_namespace: str


@pytest.fixture
def life(hooked: Container, wait_until: Wait) -> Life:
    """Return what is called in the life of a container."""
    create(hooked)
    at_create = labels(hooked)
    hooked.start()
    at_start = labels(hooked)[len(at_create) :]
    wait_until(lambda: "program" in labels(hooked), "the program")
    pid = hooked.state()["pid"]
    mount, network = (os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "net"))
    before = len(labels(hooked))
    hooked.delete()
    return Life(
        {call.label: call for call in calls(hooked)}, at_create, at_start, labels(hooked)[before:], pid, mount, network
    )


def own(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


ARGUMENTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"args": ["any name", "a b", "", "$HOME", "*"]}, ["any name", "a b", "", "$HOME", "*"]),
    ({"args": ["one"], "env": ["A=b", "C=d e"]}, ["one"]),
    ({}, ["{path}"]),
]


@pytest.mark.parametrize(("members", "argv"), ARGUMENTS, ids=str)
def test_must_HK1(container: Container, tmp_path: pathlib.Path, members: dict[str, Any], argv: list[str]) -> None:
    """A hook is executed as execv(3) does: its path, its arguments and its environment as they stand."""
    program = tmp_path / "program"
    # a link, so that what it was called by shows in nothing but its arguments
    program.symlink_to("/usr/bin/python3")
    seen = tmp_path / "seen"
    spy = tmp_path / "spy.py"
    spy.write_text(
        "#!/usr/bin/python3 -ISB\nimport os, json, sys\n"
        f"json.dump([sys.argv, dict(os.environb and os.environ)], open({str(seen)!r}, 'w'))\n"
    )
    spy.chmod(0o755)
    container.config["hooks"] = {"createRuntime": [{"path": str(spy), **members}]}
    container.create()
    arguments, environment = json.loads(seen.read_text())
    # the kernel puts the path of a script in the place of its first argument
    assert arguments == [str(spy), *argv[1:]]
    if "env" in members:
        assert {key: value for key, value in environment.items() if key != "LC_CTYPE"} == {"A": "b", "C": "d e"}


BAD_HOOKS: list[dict[str, Any]] = [
    {},
    {"args": ["true"]},
    {"path": ""},
    {"path": "true"},
    {"path": "bin/true"},
    {"path": "/bin/true", "timeout": 0},
    {"path": "/bin/true", "timeout": -1},
    {"path": "/bin/true", "timeout": "1"},
    {"path": "/bin/true", "args": "true"},
]


@crun_does_not("looks at a hook when it is called, and then not at everything")
@pytest.mark.parametrize("kind", ["createRuntime", "poststop"])
@pytest.mark.parametrize("bad", BAD_HOOKS, ids=json.dumps)
def test_must_HK1_invalid(container: Container, kind: str, bad: dict[str, Any]) -> None:
    container.config["hooks"] = {kind: [bad]}
    container.refused(f"hooks.{kind}.0")


@pytest.mark.parametrize("path", ["/no/such/program", "/etc/passwd", "/etc"])
def test_must_HK1_missing(container: Container, path: str) -> None:
    container.config["hooks"] = {"createRuntime": [{"path": path}]}
    container.refused(path)


@crun_does_not("ends the hook alone, not what it has started")
@pytest.mark.parametrize("kind", AT_CREATE)
def test_must_HK1_timeout(container: Container, kind: str) -> None:
    """A hook that takes longer than its timeout (seconds) is ended, and has failed."""
    container.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 1234"], "env": ENVIRONMENT, "timeout": 1}]
    }
    began = time.monotonic()
    container.refused()
    assert 0.9 < time.monotonic() - began < 10


CRUN_IS_EARLY = crun_does_not("start returns before the hook is called")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=CRUN_IS_EARLY if kind == "startContainer" else ()) for kind in KINDS]
)
def test_must_HK2(hooked: Container, kind: str) -> None:
    """Hooks are called in the listed order."""
    order = ["first", "second", "third"]
    hooked.config["hooks"] = {kind: [hook(hooked, kind, label) for label in order]}
    create(hooked)
    hooked.start()
    hooked.delete()
    assert [label for label in labels(hooked) if label != "program"] == order


STATUS = ["creating", "creating", "creating", "created", "running", "stopped"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        pytest.param(
            *row,
            marks=crun_does_not("says `created`, and `starting` at startContainer (D9)") if row[0] in KINDS[:4] else (),
        )
        for row in zip(KINDS, STATUS)
    ],
)
def test_must_HK2_state(hooked: Container, life: Life, kind: str, status: str) -> None:
    """The state of the container is what a hook reads, with a status that the specification knows."""
    state = life.call[kind].state
    told = {
        "id": hooked.name,
        "bundle": str(hooked.bundle.path),
        "annotations": {"org.example.key": "value"},
        "status": status,
    }
    assert {key: state[key] for key in told} == told
    if not CRUN:  # D9: crun says 1.0, which is no version
        assert state["ociVersion"] in ("1.3.0", "1.2.1", "1.2.0")
    if kind in ("prestart", "createRuntime", "poststart"):
        assert state["pid"] == life.pid


def test_must_HK3(life: Life) -> None:
    """prestart: in create, in the runtime's namespaces, when those of the container are there, before pivot_root."""
    call = life.call["prestart"]
    assert life.at_create[0] == "prestart"
    assert (call.mount_namespace, call.network_namespace, call.sees) == (own("mnt"), own("net"), "the-host")
    assert call.of_the_process == life.mount_namespace
    assert call.process_sees == "the-host"


def test_must_HK4(life: Life) -> None:
    """createRuntime: in create, in the runtime's namespaces, when those of the container are there, before pivot_root."""
    call = life.call["createRuntime"]
    assert life.at_create[1] == "createRuntime"
    assert (call.mount_namespace, call.network_namespace, call.sees) == (own("mnt"), own("net"), "the-host")
    assert call.of_the_process == life.mount_namespace
    assert call.process_sees == "the-host"


def test_must_HK5(life: Life) -> None:
    """createContainer: in create, in the container's namespaces, by a path of the host's: before pivot_root."""
    call = life.call["createContainer"]
    assert life.at_create[2:] == ["createContainer"]
    assert (call.mount_namespace, call.network_namespace) == (life.mount_namespace, life.network_namespace)
    assert call.sees == "the-host"


@CRUN_IS_EARLY
def test_must_HK6(hooked: Container, life: Life) -> None:
    """startContainer: in start, before the program, in the container's namespaces, by a path of the container's."""
    call = life.call["startContainer"]
    assert life.at_start[0] == "startContainer"
    assert labels(hooked).index("startContainer") < labels(hooked).index("program")
    assert (call.mount_namespace, call.network_namespace) == (life.mount_namespace, life.network_namespace)
    assert call.sees == "the-container"


def test_must_HK6_path(hooked: Container, wait_until: Wait) -> None:
    """A program that only the container has."""
    program = hooked.bundle.rootfs / "only-inside"
    program.write_text("#!/bin/sh\necho only-inside >>/log\n")
    program.chmod(0o755)
    hooked.config["hooks"] = {"startContainer": [{"path": "/only-inside"}]}
    create(hooked)
    hooked.start()
    wait_until(lambda: labels(hooked) == ["only-inside", "program"], "hook and program")


@CRUN_IS_EARLY
def test_must_HK7(hooked: Container, life: Life) -> None:
    """poststart: after the program is executed, before start returns, in the runtime's namespaces."""
    call = life.call["poststart"]
    assert [label for label in life.at_start if label != "program"] == ["startContainer", "poststart"]
    assert (call.mount_namespace, call.network_namespace, call.sees) == (own("mnt"), own("net"), "the-host")
    assert call.of_the_process == life.mount_namespace


@pytest.mark.parametrize("how", [[], ["--force"]], ids=str)
def test_must_HK8(hooked: Container, wait_until: Wait, run: Run, how: list[str]) -> None:
    """poststop: after the container is deleted, before delete returns, in the runtime's namespaces."""
    create(hooked)
    hooked.start()
    before, pid = labels(hooked), hooked.state()["pid"]
    run("kill", hooked.name, "KILL", check=True)
    wait_until(lambda: hooked.state()["status"] == "stopped", "the container to stop")
    assert "poststop" not in labels(hooked)
    run("delete", *how, hooked.name, check=True)
    assert labels(hooked)[-1:] == ["poststop"]
    assert labels(hooked).count("poststop") == 1 and len(labels(hooked)) >= len(before)
    call = calls(hooked)[-1]
    assert (call.mount_namespace, call.network_namespace, call.sees) == (own("mnt"), own("net"), "the-host")
    assert call.of_the_process == "gone"
    assert not pathlib.Path(f"/proc/{pid}").exists()


def test_must_HK9(life: Life, run: Run) -> None:
    """features names the kinds that work: those that wrote a line."""
    assert set(json.loads(run("features", check=True).stdout)["hooks"]) == set(life.call)


@CRUN_IS_EARLY
def test_must_LC2(hooked: Container, life: Life) -> None:
    """prestart, createRuntime, createContainer; startContainer, program, poststart; poststop."""
    assert life.at_create == AT_CREATE
    assert [label for label in life.at_start if label != "program"] == AT_START
    assert life.at_delete == AT_DELETE
    everything = [label for label in labels(hooked) if label != "program"]
    assert everything == KINDS
    assert labels(hooked).index("program") > everything.index("startContainer")


FAILS = {"path": "/bin/false"}


@pytest.mark.parametrize("kind", AT_CREATE)
def test_must_LC3(hooked: Container, kind: str) -> None:
    """A hook of create that fails: an error, later hooks are not called, and the container is deleted: poststop."""
    hooked.config["hooks"][kind].append(FAILS)
    hooked.refused(kind)
    reached = AT_CREATE[: AT_CREATE.index(kind) + 1]
    assert [label for label in labels(hooked) if label != "poststop"] == reached
    if not CRUN:  # which forgets the last step
        assert labels(hooked) == [*reached, "poststop"]


@CRUN_IS_EARLY
@pytest.mark.parametrize("kind", AT_START)
def test_must_LC3_start(hooked: Container, run: Run, wait_until: Wait, kind: str) -> None:
    """A hook of start that fails: an error, and the container is stopped."""
    hooked.config["hooks"][kind].append(FAILS)
    create(hooked)
    pid = hooked.state()["pid"]
    done = run("start", hooked.name)
    assert done.returncode != 0
    assert done.stderr.strip()
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}/root/bin").exists(), "the container to stop")
    if kind == "startContainer":
        assert "program" not in labels(hooked)
    after = run("state", hooked.name)
    assert after.returncode != 0 or json.loads(after.stdout)["status"] == "stopped"
    run("delete", "--force", hooked.name)
    assert labels(hooked).count("poststop") == 1


@crun_does_not("is ended by a hook that does not read its input")
def test_must_LC4(hooked: Container, run: Run, wait_until: Wait) -> None:
    """A poststop hook that fails is a warning: the others are called, and the container is gone."""
    good = hooked.config["hooks"]["poststop"][0]
    hooked.config["hooks"] = {"poststop": [FAILS, good, {"path": "/no/such/program"}, good]}
    create(hooked)
    run("kill", hooked.name, "KILL", check=True)
    wait_until(lambda: hooked.state()["status"] == "stopped", "the container to stop")
    done = run("--log-level=warning", "delete", hooked.name, check=True)
    assert labels(hooked) == ["poststop", "poststop"]
    if not CRUN:
        assert "/bin/false" in done.stderr
    assert run("state", hooked.name).returncode != 0

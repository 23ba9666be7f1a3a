"""The life of a container, as every OCI runtime has it: these also pass with crun (RUNTIME=crun)."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run

Wait = Callable[..., Any]


def status(run: Run, container: str) -> str:
    answer: dict[str, str] = json.loads(run("state", container, check=True).stdout)
    return answer["status"]


@pytest.mark.parametrize(
    ("script", "code"),
    [("true", 0), ("false", 1), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
def test_run_exits_as_the_container_does(run: Run, bundle: Bundle, container_id: str, script: str, code: int) -> None:
    # a shell of its own takes the signal: the first process of a pid namespace is immune to its own
    bundle.sh(f"sh -c '{script}'; exit $?")
    assert run("run", "--bundle", bundle.path, container_id).returncode == code


def test_run_hands_on_input_and_output(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.sh("cat; echo complaint >&2")
    done = run("run", "--bundle", bundle.path, container_id, input="hello\n")
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "complaint\n", 0)


def test_created_running_stopped_gone(run: Run, bundle: Bundle, container_id: str, wait_until: Wait) -> None:
    bundle.sh("echo up >/tmp/proof; exec sleep 1000")
    bundle.config["root"]["readonly"] = False
    bundle.write()
    proof = bundle.rootfs / "tmp/proof"

    run("create", "--bundle", bundle.path, container_id, check=True)
    assert status(run, container_id) == "created"
    assert not proof.exists(), "nothing of the container's program runs before start"

    run("start", container_id, check=True)
    wait_until(proof.exists, "the program to run")
    assert status(run, container_id) == "running"
    assert proof.read_text() == "up\n"

    run("kill", container_id, "KILL", check=True)
    wait_until(lambda: status(run, container_id) == "stopped", "the container to stop")
    run("delete", container_id, check=True)
    assert run("state", container_id).returncode != 0


def test_state_tells_pid_and_bundle(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    run("create", "--bundle", bundle.path, container_id, check=True)
    run("start", container_id, check=True)
    state = json.loads(run("state", container_id, check=True).stdout)
    assert (state["id"], state["bundle"], state["status"]) == (container_id, str(bundle.path), "running")
    assert pathlib.Path(f"/proc/{state['pid']}/root/bin/busybox").exists()
    run("delete", "--force", container_id, check=True)


def test_a_running_container_is_deleted_by_force_only(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    assert run("delete", container_id).returncode != 0
    assert status(run, container_id) == "running"
    run("delete", "--force", container_id, check=True)


def test_an_id_is_taken_once(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    again = run("create", "--bundle", bundle.path, container_id)
    assert again.returncode != 0
    assert "exist" in again.stderr
    assert status(run, container_id) == "running"


def test_pid_file_names_the_container_process(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    pid_file = bundle.path / "pid"
    run("run", "--detach", "--pid-file", pid_file, "--bundle", bundle.path, container_id, check=True)
    state = json.loads(run("state", container_id, check=True).stdout)
    assert int(pid_file.read_text()) == state["pid"]


def test_list_shows_it_while_it_lives(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    assert container_id in run("list", "--quiet", check=True).stdout.split()
    run("delete", "--force", container_id, check=True)
    assert container_id not in run("list", "--quiet", check=True).stdout.split()

"""How a container ended, as its state tells it: what somebody saw, and no more."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Bundle, Container, Podman, Run
from tests.integration.needs import needs

pytestmark = pytest.mark.skipif(CRUN, reason="crun does not tell")
M = 1 << 20
HOG = "dd if=/dev/zero of=/dev/shm/zeroes bs=1M count=48"
TELLS = tuple(int(number) for number in os.uname().release.split(".")[:2]) >= (6, 15)  # a pidfd of a collected process


def exit_of(run: Run, name: str) -> dict[str, Any] | None:
    state = json.loads(run("state", name, check=True).stdout)
    assert state["status"] == "stopped"
    found: dict[str, Any] | None = state.get("exit")
    return found


def ended(found: dict[str, Any] | None) -> dict[str, Any]:
    """Return how it ended without `oom_killed`, which is known where a controller counts alone."""
    assert found is not None
    assert not found.get("oom_killed")
    return {key: value for key, value in found.items() if key != "oom_killed"}


@pytest.mark.parametrize(("script", "how"), [
    ("exit 0", {"code": 0}),
    ("exit 7", {"code": 7}),
    ("exec sh -c 'kill -KILL $$'", {"code": 137, "signal": 9}),
])  # fmt: skip
@pytest.mark.parametrize("manager", ["systemd", "cgroupfs", "disabled"])
def test_run_and_keep(
    run: Run, bundle: Bundle, container_id: str, script: str, how: dict[str, Any], manager: str
) -> None:
    # the first process of a pid namespace is immune to its own signals
    bundle.config["linux"]["namespaces"] = [n for n in bundle.config["linux"]["namespaces"] if n["type"] != "pid"]
    bundle.sh(script)
    done = run(f"--cgroup-manager={manager}", "run", "--keep", "--bundle", bundle.path, container_id)
    assert done.returncode == how["code"], done
    assert ended(exit_of(run, container_id)) == how
    [listed] = [
        one for one in json.loads(run("list", "--format", "json", check=True).stdout) if one["id"] == container_id
    ]
    assert ended(listed["exit"]) == how
    run("delete", container_id, check=True)


def test_nobody_has_collected_it(run: Run, bundle: Bundle, container_id: str, wait_until: Callable[..., Any]) -> None:
    """It tells itself; after that nobody knows, and nothing is said."""
    bundle.sh("exit 7")
    script = 'runtime=$1; shift; "$runtime" create --bundle "$1" "$2"; "$runtime" start "$2"; echo; read line'
    # a shell is the parent: it collects no child that it does not wait for
    command = ["sh", "-c", script, "sh", "/usr/bin/pyoci", str(bundle.path), container_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        wait_until(lambda: json.loads(run("state", container_id).stdout)["status"] == "stopped", "the end")
        told = exit_of(run, container_id)
        parent.communicate(b"\n", timeout=10)
    if told is not None:
        assert ended(told) == {"code": 7}
    wait_until(lambda: exit_of(run, container_id) is None, "the process to be collected")


def test_events_was_there(runtime: str, container: Container, wait_until: Callable[..., Any]) -> None:
    container.create("sleep 1; exit 7")
    container.start()
    with subprocess.Popen([runtime, "events", container.name], stdout=subprocess.DEVNULL) as watching:
        assert watching.wait(20) == 0
    found = exit_of(container.run, container.name)
    if TELLS:
        assert ended(found) == {"code": 7}
    else:
        # who collects it may be faster
        assert ended(found or {"code": 7}) in ({}, {"code": 7})


def test_nobody_was_there(container: Container, wait_until: Callable[..., Any]) -> None:
    container.create("exit 7")
    container.start()
    wait_until(lambda: container.state()["status"] == "stopped", "the end")
    wait_until(lambda: "exit" not in container.state(), "the process to be collected")


def test_a_scope_that_lingers(container: Container, wait_until: Callable[..., Any]) -> None:
    """It says why it failed, in systemd's words."""
    container.config["annotations"] = {
        "org.systemd.property.CollectMode": "'inactive'",
        "org.systemd.property.RuntimeMaxUSec": "uint64 500000",
    }
    container.create("trap 'exit 0' TERM; while :; do sleep 0.2; done")
    container.start()
    wait_until(lambda: container.state().get("exit", {}).get("result") == "timeout", "the scope to fail", 10)


def test_a_record_is_gone_with_the_container(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.sh("exit 7")
    run("run", "--keep", "--bundle", bundle.path, container_id)
    run("delete", container_id, check=True)
    bundle.args("sleep", "1000")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    assert "exit" not in json.loads(run("state", container_id, check=True).stdout)


def test_podman_is_not_disturbed(podman: Podman, runtime: str, tmp_path: pathlib.Path) -> None:
    """It keeps its own books; while `events` is at work too."""
    name = podman("run", "--detach", podman.image, "sh", "-c", "sleep 1; exit 7").stdout.strip()
    with subprocess.Popen([runtime, "events", "--state", name], stdout=subprocess.DEVNULL) as watching:
        assert podman("wait", name).stdout.strip() == "7"
        assert watching.wait(10) == 0
    assert podman("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", name).stdout.strip() == "7 false"
    podman("rm", name)


# -- out of memory


@needs("memory controller")
@pytest.mark.parametrize(("script", "how"), [
    (f"exec {HOG}", {"code": 137, "signal": 9, "oom_killed": True}),
    (f"{HOG}; exit 3", {"code": 3, "oom_killed": True}),
    ("exit 3", {"code": 3}),
])  # fmt: skip
def test_out_of_memory(run: Run, bundle: Bundle, container_id: str, script: str, how: dict[str, Any]) -> None:
    bundle.config["linux"]["resources"] = {"memory": {"limit": 16 * M}}
    bundle.sh(script)
    done = run("run", "--keep", "--bundle", bundle.path, container_id, timeout=120)
    assert done.returncode == how["code"]
    found = exit_of(run, container_id)
    assert found is not None
    assert (how if "oom_killed" in how else {**how, "oom_killed": found.get("oom_killed", False)}) == {
        "oom_killed": False, **found
    }  # fmt: skip
    told = f"pyoci: container `{container_id}` was killed: out of memory, the limit of {16 * M} bytes is too low\n"
    assert (told in done.stderr) == (how["code"] == 137)


@needs("memory controller")
def test_out_of_memory_is_an_event(runtime: str, container: Container, wait_until: Callable[..., Any]) -> None:
    """Of a container that nobody waits for; and one more that it survives."""
    container.config["linux"]["resources"] = {"memory": {"limit": 16 * M}}
    container.create(f"sleep 2; {HOG}; sleep 2; exec {HOG}")
    with subprocess.Popen(
        [runtime, "events", "--interval", "1h", "--state", container.name], stdout=subprocess.PIPE
    ) as watching:
        container.start()
        lines = watching.communicate(timeout=120)[0].splitlines()
    events = [json.loads(line) for line in lines]
    assert events.count({"type": "oom", "id": container.name}) == 2, events
    assert [event["type"] for event in events][-2:] == ["oom", "state"]
    assert events[-1]["data"]["exit"]["oom_killed"] is True
    assert container.state()["exit"]["oom_killed"] is True


@needs("memory controller")
def test_out_of_memory_that_nobody_saw(container: Container, wait_until: Callable[..., Any]) -> None:
    """The kernel's log remembers whom it killed."""
    container.config["linux"]["resources"] = {"memory": {"limit": 16 * M}}
    container.create(f"exec {HOG}")
    container.start()
    wait_until(lambda: container.state()["status"] == "stopped", "the end", 60)
    assert container.state()["exit"]["oom_killed"] is True


@needs("memory controller")
def test_out_of_memory_in_a_cgroup_that_stays(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.config["linux"]["resources"] = {"memory": {"limit": 16 * M}}
    bundle.sh(f"{HOG}; exit 3")
    run("--cgroup-manager=cgroupfs", "run", "--keep", "--bundle", bundle.path, container_id, timeout=120)
    pathlib.Path(f"/run/pyoci/{container_id}/exit.json").unlink()
    assert exit_of(run, container_id) == {"oom_killed": True}


@needs("memory controller")
@pytest.mark.parametrize("limit", [4096, 32768])
@pytest.mark.parametrize("verb", ["create", "run"])
def test_too_little_to_begin_with(run: Run, bundle: Bundle, container_id: str, verb: str, limit: int) -> None:
    bundle.config["linux"]["resources"] = {"memory": {"limit": limit}}
    bundle.sh("exit 0")
    done = run(verb, "--bundle", bundle.path, container_id, timeout=120)
    said = f"the container's init was killed: out of memory, the limit of {limit} bytes is too low"
    assert (done.returncode, done.stderr) == (1, f"pyoci: {said}\n")
    assert run("state", container_id).returncode != 0, "there is a container all the same"

"""pause, resume and ps: what the runtime, systemd and the kernel say of it is the same."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Bundle, Run


def state(run: Run, container_id: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(run("state", container_id, check=True).stdout)
    return result


def freezer(unit: str) -> str:
    shown = subprocess.run(
        ["systemctl", "show", "--property=FreezerState", "--value", unit], capture_output=True, text=True
    )
    return shown.stdout.strip()


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True, timeout=20)


@pytest.fixture
def scope(run: Run, container_id: str, bundle: Bundle) -> str:
    """Return the unit of a container that counts."""
    bundle.sh("n=0; while :; do n=$((n+1)); echo $n >/count.new; mv /count.new /count; done")
    bundle.config["root"]["readonly"] = False
    bundle.write()
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    return f"pyoci-{container_id}.scope"


def counts(bundle: Bundle, wait_until: Callable[..., Any]) -> bool:
    """Does the program run: its count goes up."""
    count = bundle.rootfs / "count"
    wait_until(count.exists, "the first count")
    before = count.read_text()
    return bool(wait_until(lambda: count.read_text() != before, "the next count"))


def test_pause_and_resume(
    run: Run, container_id: str, bundle: Bundle, scope: str, wait_until: Callable[..., Any]
) -> None:
    assert counts(bundle, wait_until)
    run("pause", container_id, check=True)
    assert (state(run, container_id)["status"], freezer(scope)) == ("paused", "frozen")
    events = pathlib.Path(f"/sys/fs/cgroup/system.slice/{scope}/container/cgroup.events").read_text()
    assert "frozen 1" in events
    run("pause", container_id, check=True)
    run("resume", container_id, check=True)
    assert (state(run, container_id)["status"], freezer(scope)) == ("running", "running")
    assert counts(bundle, wait_until)
    run("resume", container_id, check=True)


def test_systemctl_agrees(
    run: Run, container_id: str, bundle: Bundle, scope: str, wait_until: Callable[..., Any]
) -> None:
    systemctl("freeze", scope)
    assert state(run, container_id)["status"] == "paused"
    run("resume", container_id, check=True)
    assert freezer(scope) == "running"
    run("pause", container_id, check=True)
    systemctl("thaw", scope)
    assert state(run, container_id)["status"] == "running"
    assert counts(bundle, wait_until)


def test_frozen_behind_our_back(
    run: Run, container_id: str, bundle: Bundle, scope: str, wait_until: Callable[..., Any]
) -> None:
    """By whoever writes to the container's own cgroup: resume thaws that too."""
    own = pathlib.Path(f"/sys/fs/cgroup/system.slice/{scope}/container")
    (own / "cgroup.freeze").write_text("1")
    wait_until(lambda: "frozen 1" in (own / "cgroup.events").read_text(), "the frozen cgroup")
    assert state(run, container_id)["status"] == "paused"
    run("resume", container_id, check=True)
    assert state(run, container_id)["status"] == "running"
    assert counts(bundle, wait_until)


def test_a_paused_container_is_killed(run: Run, container_id: str, scope: str, wait_until: Callable[..., Any]) -> None:
    run("pause", container_id, check=True)
    run("delete", "--force", container_id, check=True)
    wait_until(lambda: freezer(scope) in ("running", ""), "systemd to forget the scope")


def test_cgroupfs(run: Run, container_id: str, bundle: Bundle) -> None:
    bundle.args("sleep", "100")
    run("--cgroup-manager=cgroupfs", "run", "--detach", "--bundle", bundle.path, container_id, check=True)
    run("pause", container_id, check=True)
    assert state(run, container_id)["status"] == "paused"
    run("resume", container_id, check=True)
    assert state(run, container_id)["status"] == "running"


def test_ps(run: Run, container_id: str, bundle: Bundle, wait_until: Callable[..., Any]) -> None:
    bundle.sh("sleep 100 & sleep 100 & wait")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    first = state(run, container_id)["pid"]
    children = pathlib.Path(f"/proc/{first}/task/{first}/children")
    wait_until(lambda: len(children.read_text().split()) == 2, "two children")
    pids = sorted([first, *map(int, children.read_text().split())])
    assert json.loads(run("ps", "--format", "json", container_id, check=True).stdout) == pids
    assert run("ps", container_id, check=True).stdout == "PID\n" + "".join(f"{pid}\n" for pid in pids)


@pytest.mark.parametrize("verb", ["pause", "resume", "ps"])
def test_nothing_to_do_it_to(
    run: Run, container_id: str, bundle: Bundle, verb: str, wait_until: Callable[..., Any]
) -> None:
    missing = run(verb, container_id)
    assert (missing.returncode, missing.stderr) == (1, f"pyoci: container `{container_id}` does not exist\n")
    bundle.args("true")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    wait_until(lambda: state(run, container_id)["status"] == "stopped", "the end")
    stopped = run(verb, container_id)
    assert stopped.returncode == 1
    assert stopped.stderr.endswith("container not running\n")
    run("delete", container_id, check=True)
    run("--cgroup-manager=disabled", "create", "--bundle", bundle.path, container_id, check=True)
    without = run(verb, container_id)
    assert (without.returncode, without.stderr.endswith("it has no cgroup of its own\n")) == (1, True)


@pytest.mark.skipif(CRUN, reason="crun asks the kernel, not systemd")
def test_all_at_once(runtime: str, run: Run, container_id: str, scope: str) -> None:
    """Many who pause and resume do not get in each other's way."""
    for _ in range(10):
        many = [
            subprocess.Popen([runtime, verb, container_id], stderr=subprocess.PIPE, text=True)
            for verb in ("pause", "resume") * 4
        ]
        said = [one.communicate(timeout=20)[1] for one in many]
        assert said == [""] * len(many)
        run("resume", container_id, check=True)
        assert (state(run, container_id)["status"], freezer(scope)) == ("running", "running")

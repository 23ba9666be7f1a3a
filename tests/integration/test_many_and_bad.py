"""Much at once: ten thousand containers, a config that is huge, a pause that does not come to its end."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.exec_scene import ours
from tests.integration.test_bad_input import processor_time
from tests.integration.test_crashes import Tracer, clear, status, traced

__all__ = ["traced"]


def quickest(call: Callable[[], object]) -> float:
    """Return how long it takes; where others want the processors too, the wait for one does not count."""
    took = []
    for _ in range(5):
        began, used = time.monotonic(), processor_time()
        call()
        took.append(min(time.monotonic() - began, processor_time() - used))
    return min(took)


@ours
def test_ten_thousand_are_listed(run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    run("--root", root, "create", "--bundle", bundle.path, container_id, check=True)
    state = json.loads((root / container_id / "state.json").read_text())
    run("--root", root, "delete", "--force", container_id, check=True)
    root.mkdir(mode=0o700, exist_ok=True)
    for number in range(10_000):
        directory = root / f"c{number:05}"
        directory.mkdir()
        (directory / "state.json").write_text(json.dumps({**state, "id": directory.name}))
    (root / "c00500/state.json").write_text('{"id":')
    listed = json.loads(run("--root", root, "list", "--format", "json", check=True).stdout)
    assert len(listed) == 9_999
    assert quickest(lambda: run("--root", root, "list", "--format", "json", check=True)) < 1.5


@ours
@pytest.mark.parametrize("what", ["huge", "deep"])
def test_a_bad_config_takes_half_a_second(run: Run, bundle: Bundle, container_id: str, what: str) -> None:
    text = json.dumps({**bundle.config, "annotations": {f"org.example.{n}": "x" * 1000 for n in range(8000)}})
    bad = {
        "huge": text[:-1] + " " * (1 << 24) + "}",
        "deep": "[" * 100_000,
    }
    (bundle.path / "config.json").write_text(bad[what])

    def refused() -> None:
        done = run("create", "--bundle", bundle.path, container_id)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done

    assert quickest(refused) < 0.5
    assert run("state", container_id).returncode != 0


@ours
@pytest.mark.parametrize("manager", ["systemd", "cgroupfs"])
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_pause_is_killed(
    traced: Tracer, run: Run, bundle: Bundle, container_id: str, wait_until: Callable[..., Any], verb: str, manager: str
) -> None:
    """Whenever that is, the container is paused or runs on, and either can be undone."""
    bundle.args("sleep", "1000")
    how = f"--cgroup-manager={manager}"
    if manager == "cgroupfs":
        bundle.config["linux"]["cgroupsPath"] = f"/{container_id}"
    run(how, "run", "--detach", "--bundle", bundle.write().path, container_id, check=True)
    if verb == "resume":
        run("pause", container_id, check=True)
    assert traced(verb, container_id).returncode == 0
    calls = [call for call in traced.calls() if call.name not in ("execve", "mmap", "brk", "rt_sigaction")]
    outcomes = set()
    for call in calls[-40::3]:
        run("resume" if verb == "pause" else "pause", container_id, check=True)
        traced(verb, container_id, inject=f"{call.name}:signal=KILL:when={call.nth}")
        outcomes.add(wait_until(lambda: status(run, container_id), "a status"))
        for undo in ("pause", "resume"):
            run(undo, container_id, check=True)
        assert status(run, container_id) == "running"
        if verb == "resume":
            run("pause", container_id, check=True)
    assert outcomes <= {"running", "paused"}
    clear(run, container_id)

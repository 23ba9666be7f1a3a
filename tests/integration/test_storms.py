"""Containers live, are made, changed and removed while systemd reads everything anew and starts itself anew."""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.storm_scene import PATIENCE, Storm, looks, scope_of, watching

pytestmark = pytest.mark.storm

Wait = Callable[..., Any]
RUNTIME = pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name
ours = pytest.mark.skipif(RUNTIME != "pyoci", reason="other runtimes have no `verify`")


def state(run: Run, name: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(run("state", name, check=True, timeout=PATIENCE).stdout)
    return said


def ask(run: Run, *words: str | os.PathLike[str], **how: Any) -> None:
    """Run a command that must succeed without a word, however bad the weather is."""
    began = time.monotonic()
    done = run("--systemd-cgroup", *words, timeout=PATIENCE, **how)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (words, time.monotonic() - began)


def test_devices_stand(run: Run, bundle: Bundle, container_id: str, wait_until: Wait) -> None:
    """Not for a moment does a running container get a device that it may not have, or lose one.

    runc 1.1 and crun 1.21 pass this one.
    """
    watching(bundle, container_id)
    ask(run, "run", "--detach", "--bundle", bundle.path, container_id)
    wait_until(lambda: looks(bundle) > 2, "the first looks")
    with Storm() as storm:
        before = looks(bundle)
    after = looks(bundle)
    wait_until(lambda: looks(bundle) > after, "a look after the storm")
    assert storm.failed == []
    assert after - before > storm.done // 2, "the container hardly ran"
    assert (bundle.rootfs / "report").read_text() == ""
    assert state(run, container_id)["status"] == "running"


class Lives:
    """Containers one after another, each through its whole life, as long as a storm blows."""

    def __init__(self, run: Run, bundle: Bundle, prefix: str) -> None:
        self.run, self.bundle, self.prefix = run, bundle, prefix
        self.slowest: tuple[float, str] = (0.0, "")
        self.count = 0

    def ask(self, *words: str | os.PathLike[str], **how: Any) -> None:
        began = time.monotonic()
        ask(self.run, *words, **how)
        self.slowest = max(self.slowest, (time.monotonic() - began, str(words[0])))

    def verify(self, name: str) -> None:
        if RUNTIME == "pyoci":
            done = self.run("verify", name, timeout=PATIENCE)
            assert (done.returncode, done.stderr) == (0, ""), done

    def live(self) -> None:
        """Have one container, from create to delete; what is asked of it must be done, and what it is must be told."""
        self.count += 1
        name = f"{self.prefix}-{self.count}"
        self.bundle.config["linux"]["cgroupsPath"] = f"system.slice:test:{name}"
        self.bundle.write()
        self.ask("create", "--bundle", self.bundle.path, name)
        scope = scope_of(state(self.run, name)["pid"])
        assert scope.name == f"test-{name}.scope"
        self.verify(name)
        self.ask("start", name)
        self.ask("pause", name)
        assert state(self.run, name)["status"] == "paused"
        self.ask("resume", name)
        assert state(self.run, name)["status"] == "running"
        more = {"devices": [*self.bundle.config["linux"]["resources"]["devices"], MORE]}
        if RUNTIME == "pyoci":
            self.ask("update", "--resources", "-", name, input=json.dumps(more))
            self.verify(name)
        self.ask("exec", name, "true")
        self.ask("kill", name, "KILL")
        self.ask("delete", "--force", name)
        assert not scope.exists()

    def clear(self) -> None:
        for number in range(1, self.count + 1):
            self.run("delete", "--force", f"{self.prefix}-{number}", timeout=PATIENCE)


MORE = {"allow": True, "type": "c", "major": 240, "minor": 3, "access": "rw"}


def test_life_goes_on(run: Run, bundle: Bundle, container_id: str) -> None:
    """Nothing that is asked for meanwhile fails, hangs or is forgotten."""
    watching(bundle, container_id)
    lives = Lives(run, bundle, container_id)
    try:
        with Storm() as storm:
            while storm.blows():
                lives.live()
    finally:
        lives.clear()
    assert storm.failed == []
    print(f"{lives.count} lives in {storm.done} storms; the slowest command was {lives.slowest}")


def test_a_paused_container_stays_paused(run: Run, bundle: Bundle, container_id: str, wait_until: Wait) -> None:
    watching(bundle, container_id)
    ask(run, "run", "--detach", "--bundle", bundle.path, container_id)
    wait_until(lambda: looks(bundle) > 2, "the first looks")
    ask(run, "pause", container_id)
    before = looks(bundle)
    with Storm() as storm:
        while storm.blows():
            assert state(run, container_id)["status"] == "paused"
            time.sleep(0.05)
    assert (storm.failed, looks(bundle)) == ([], before)
    ask(run, "resume", container_id)
    wait_until(lambda: looks(bundle) > before, "a look after the storm")

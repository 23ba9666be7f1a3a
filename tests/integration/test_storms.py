"""Containers live, are made, changed and removed while systemd reads everything anew and starts itself anew."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.needs import needs
from tests.integration.storm_scene import PATIENCE, Storm, cgroup_of, looks, scope_of, watching

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


MORE = {"allow": True, "type": "c", "major": 240, "minor": 3, "access": "rw"}


class Lives:
    """Containers one after another, each through its whole life, as long as a storm blows."""

    def __init__(self, run: Run, bundle: Bundle, prefix: str) -> None:
        self.run, self.bundle, self.prefix = run, bundle, prefix
        self.numbers = itertools.count(1)
        self.took: list[tuple[float, str]] = []
        devices = [*bundle.config["linux"]["resources"]["devices"], MORE]
        self.update = json.dumps({"devices": devices})

    def ask(self, *words: str | os.PathLike[str], **how: Any) -> None:
        began = time.monotonic()
        ask(self.run, *words, **how)
        self.took.append((time.monotonic() - began, str(words[0])))

    def verify(self, name: str) -> None:
        done = self.run("verify", name, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (0, ""), done

    def live(self) -> None:
        """Have one container, from create to delete; what is asked of it must be done, and what it is must be told."""
        name = f"{self.prefix}-{next(self.numbers)}"
        self.ask("create", "--bundle", self.bundle.path, name)
        scope = scope_of(state(self.run, name)["pid"])
        assert scope.name == f"pyoci-{name}.scope"
        self.verify(name)
        self.ask("start", name)
        self.ask("pause", name)
        assert state(self.run, name)["status"] == "paused"
        self.ask("resume", name)
        assert state(self.run, name)["status"] == "running"
        self.ask("update", "--resources", "-", name, input=self.update)
        self.verify(name)
        self.ask("exec", name, "true")
        self.ask("kill", name, "KILL")
        self.ask("delete", "--force", name)
        assert not scope.exists(), "the scope is still there"

    def while_it_blows(self, storm: Storm) -> None:
        while storm.blows():
            self.live()

    def clear(self) -> None:
        for number in range(1, next(self.numbers)):
            self.run("delete", "--force", f"{self.prefix}-{number}", timeout=PATIENCE)


@ours
def test_life_goes_on(run: Run, bundle: Bundle, container_id: str) -> None:
    """Nothing that is asked for meanwhile, of three containers at a time, fails, hangs or is forgotten."""
    watching(bundle, container_id)
    del bundle.config["linux"]["cgroupsPath"]
    bundle.args("sleep", "1000")
    lives = Lives(run, bundle, container_id)
    try:
        with Storm() as storm, concurrent.futures.ThreadPoolExecutor(3) as three:
            for life in [three.submit(lives.while_it_blows, storm) for _ in range(3)]:
                life.result()
    finally:
        lives.clear()
    assert storm.failed == []
    print(f"{next(lives.numbers) - 2} lives in {storm.done} storms; slowest {max(lives.took)}, {storm.took} s")


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


M = 1 << 20
DISK = "254:0"  # the virtual machine's
LIMITS: Any = {
    "memory": {"limit": 64 * M, "swap": 64 * M, "reservation": 16 * M},
    "cpu": {"quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 100},
    "blockIO": {
        "throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": M}],
        "throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 200}],
    },
    "unified": {"memory.high": f"{48 * M}"},
}
STAND = {
    "memory.max": f"{64 * M}",
    "memory.high": f"{48 * M}",
    "memory.low": f"{16 * M}",
    "memory.swap.max": "0",
    "cpu.max": "50000 100000",
    "cpuset.cpus": "0",
    "cpuset.mems": "0",
    "pids.max": "100",
    "io.max": f"{DISK} rbps={M} wbps=max riops=max wiops=200",
}


def lost(pid: int) -> dict[str, tuple[str, ...]]:
    """Return the limits that a process has not in its cgroup and in its scope, with what stands in the two.

    What stands in the first alone is unknown to systemd: it is not what `systemctl show` says, nor what holds for all.
    """
    places = (cgroup_of(pid), scope_of(pid))
    found = {name: tuple((place / name).read_text().strip() for place in places) for name in STAND}
    return {name: values for name, values in found.items() if {*values} != {STAND[name]}}


@needs("memory controller", "cpu controller", "cpuset controller", "pids controller", "io controller")
def test_limits_stand(run: Run, bundle: Bundle, container_id: str) -> None:
    """In a container that is made before the storm, and in one that is made in it; and when systemd writes all anew.

    That last it does when any limit of the unit is set, to what it had before too. What other runtimes did not tell it
    goes then: runc 1.1.15 loses `memory.swap.max=0`. With crun 1.21 the scope never had that, nor any throttle; they
    stand in the files of the container's own cgroup alone, and `systemctl show` says MemorySwapMax=67108864.
    """
    bundle.config["linux"]["resources"] = LIMITS
    watching(bundle, container_id).args("sleep", "1000")
    ask(run, "create", "--bundle", bundle.path, container_id)
    second = f"{container_id}-second"
    with Storm() as storm:
        time.sleep(0.2)
        bundle.config["linux"]["cgroupsPath"] = f"system.slice:test:{second}"
        bundle.write()
        try:
            ask(run, "create", "--bundle", bundle.path, second)
        finally:
            storm.thread.join()
    try:
        pids = [state(run, name)["pid"] for name in (container_id, second)]
        assert storm.failed == []
        for pid in pids:
            subprocess.run(["systemctl", "set-property", "--runtime", scope_of(pid).name, "CPUWeight=100"], check=True)
        assert [lost(pid) for pid in pids] == [{}, {}]
        if RUNTIME == "pyoci":
            for name in (container_id, second):
                done = run("verify", name, timeout=PATIENCE)
                assert (done.returncode, done.stderr) == (0, ""), done.stdout
    finally:
        run("delete", "--force", second, timeout=PATIENCE)

"""Whoever does it, `systemctl` or the runtime, the other one says so within two seconds."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.needs import needs

Wait = Callable[..., Any]
SOON = 2.0
M = 1 << 20


def systemctl(*words: str) -> str:
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def shown(unit: str, name: str) -> str:
    return systemctl("show", f"--property={name}", "--value", unit)


def status_code(unit: str) -> int:
    return subprocess.run(["systemctl", "status", unit], capture_output=True, timeout=20).returncode


class Living:
    """A container that runs, its scope, and what both sides say."""

    def __init__(self, run: Run, bundle: Bundle, name: str, wait_until: Wait) -> None:
        self.run, self.bundle, self.name, self.wait_until = run, bundle, name, wait_until
        self.unit = f"pyoci-{name}.scope"

    def up(self, script: str = "trap 'exit 0' TERM; echo >/ready; while :; do sleep 0.01; done", **more: Any) -> None:
        self.bundle.config["root"]["readonly"] = False
        self.bundle.config |= more
        self.bundle.sh(script)
        self.run("run", "--detach", "--bundle", self.bundle.path, self.name, check=True)
        if "/ready" in script:
            self.wait_until((self.bundle.rootfs / "ready").exists, "the container")

    def verb(self, *words: str, **how: Any) -> None:
        self.run(words[0], *words[1:], self.name, check=True, **how)

    @property
    def status(self) -> str:
        return str(json.loads(self.run("state", self.name, check=True).stdout)["status"])

    def becomes(self, status: str, **unit: str) -> None:
        """Wait until the runtime says `status`, and the unit's properties are those."""

        def agreed() -> bool:
            return self.status == status and all(shown(self.unit, name) == value for name, value in unit.items())

        self.wait_until(agreed, f"{status}, {unit}", seconds=SOON)


@pytest.fixture
def living(run: Run, bundle: Bundle, container_id: str, wait_until: Wait) -> Living:
    return Living(run, bundle, container_id, wait_until)


def test_freeze_and_thaw(living: Living) -> None:
    living.up()
    for _ in range(2):
        systemctl("freeze", living.unit)
        living.becomes("paused", FreezerState="frozen")
        systemctl("thaw", living.unit)
        living.becomes("running", FreezerState="running")
    living.verb("pause")
    living.becomes("paused", FreezerState="frozen", ActiveState="active")
    assert "(frozen)" in systemctl("status", "--no-pager", living.unit) or status_code(living.unit) == 0
    living.verb("resume")
    living.becomes("running", FreezerState="running")


def test_a_signal_by_systemctl(living: Living) -> None:
    living.up("trap 'echo >/got' USR1; echo >/ready; while :; do sleep 0.01; done")
    systemctl("kill", "--signal=USR1", living.unit)
    living.wait_until((living.bundle.rootfs / "got").exists, "the signal", seconds=SOON)
    assert living.status == "running"
    systemctl("kill", "--signal=KILL", living.unit)
    living.becomes("stopped")
    living.verb("delete")
    assert status_code(living.unit) == 4


def with_poststop(bundle: Bundle) -> dict[str, Any]:
    proof = bundle.path / "proof"
    return {"hooks": {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{proof}"]}]}}


@pytest.mark.parametrize("words", [["stop"], ["stop", "--no-block"], ["kill", "--signal=KILL"]], ids=" ".join)
def test_a_stop_by_systemctl_leaves_poststop_to_delete(living: Living, words: list[str]) -> None:
    living.up(**with_poststop(living.bundle))
    systemctl(*words, living.unit)
    living.becomes("stopped")
    proof = living.bundle.path / "proof"
    assert not proof.exists()
    living.verb("delete")
    assert json.loads(proof.read_text())["status"] == "stopped"
    assert status_code(living.unit) == 4
    assert not pathlib.Path("/run/systemd/transient", living.unit).exists()


def test_a_stop_of_a_paused_container(living: Living) -> None:
    """systemd stops nothing that it has frozen, and says so (257) or waits for ever (252): the runtime thaws it."""
    living.up(**with_poststop(living.bundle))
    living.verb("pause")
    living.verb("delete", "--force")
    assert (living.bundle.path / "proof").exists()
    assert status_code(living.unit) == 4


@pytest.mark.parametrize("mode", ["inactive-or-failed", "inactive"])
def test_a_scope_that_failed_is_cleared_by_delete(living: Living, mode: str) -> None:
    """By its time being over. With CollectMode=inactive systemd keeps what failed, for a person to look at."""
    notes = {
        "org.systemd.property.RuntimeMaxUSec": "uint64 200000",
        "org.systemd.property.CollectMode": f"'{mode}'",
    }
    living.up(annotations=notes, **with_poststop(living.bundle))
    living.becomes("stopped")
    kept = mode == "inactive"
    if kept:
        living.wait_until(lambda: shown(living.unit, "Result") == "timeout", "the result", seconds=SOON)
        assert shown(living.unit, "ActiveState") == "failed"
    living.verb("delete")
    assert status_code(living.unit) == 4
    assert (living.bundle.path / "proof").exists()


def test_devices_by_both(living: Living) -> None:
    living.bundle.config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    living.up()
    asked = {"devices": [{"allow": False, "access": "rwm"},
                         {"allow": True, "type": "c", "major": 240, "minor": 1, "access": "rw"}]}  # fmt: skip
    living.verb("update", "--resources", "-", input=json.dumps(asked))
    assert "/dev/char/240:1 rw" in shown(living.unit, "DeviceAllow")
    systemctl("daemon-reload")
    assert "/dev/char/240:1 rw" in shown(living.unit, "DeviceAllow")
    systemctl("set-property", living.unit, "DeviceAllow=/dev/char/240:2 r")
    assert living.run("verify", living.name).returncode == 1
    living.verb("verify", "--repair")
    assert "240:2" not in shown(living.unit, "DeviceAllow")


def test_tasks_by_both_without_a_controller(living: Living) -> None:
    """An administrator's limit of the unit is none of ours to lift: `state` is as before, and `verify` says it."""
    living.up()
    systemctl("set-property", "--runtime", living.unit, "TasksMax=50")
    assert living.status == "running"
    done = living.run("verify", living.name)
    line = next(line for line in done.stdout.splitlines() if line.startswith("pids.max"))
    assert (done.returncode, line.split()[:3], line.rpartition("≠")[2]) == (
        1, ["pids.max", "max", "50"], " set by `systemctl set-property`"
    )  # fmt: skip
    living.verb("verify", "--repair")
    assert shown(living.unit, "TasksMax") == "infinity"


@needs("memory controller", "cpu controller", "pids controller")
def test_limits_by_both(living: Living) -> None:
    living.bundle.config["linux"]["resources"] = {"memory": {"limit": 64 * M}, "pids": {"limit": 100}}
    living.up()
    living.verb("update", "--memory", "48m", "--memory-swap", "48m", "--cpu-quota", "30000", "--pids-limit", "60")
    for _ in range(2):
        told = [shown(living.unit, n) for n in ("MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax")]
        assert told == [f"{48 * M}", "0", "300ms", "60"]
        systemctl("daemon-reload")
    living.verb("verify")
    systemctl("set-property", "--runtime", living.unit, "MemoryMax=32M")
    scope = pathlib.Path("/sys/fs/cgroup", shown(living.unit, "ControlGroup")[1:])
    assert (scope / "memory.max").read_text() == f"{32 * M}\n"
    assert living.run("verify", living.name).returncode == 1
    # what is changed of another limit leaves the administrator's alone
    living.verb("update", "--pids-limit", "50")
    assert shown(living.unit, "MemoryMax") == f"{32 * M}"
    living.verb("verify", "--repair")
    assert shown(living.unit, "MemoryMax") == f"{48 * M}"


@needs("memory controller")
def test_oom_kills_the_scope(living: Living) -> None:
    """The unit fails with oom-kill; `delete` clears it."""
    living.bundle.config["linux"]["resources"] = {"memory": {"limit": 16 * M}, "unified": {"memory.oom.group": "1"}}
    living.up("dd if=/dev/zero of=/dev/shm/zeroes bs=1M count=48; sleep 1000",
              annotations={"org.systemd.property.CollectMode": "'inactive'"})  # fmt: skip
    living.wait_until(lambda: living.status == "stopped", "the end", seconds=20)
    living.wait_until(lambda: shown(living.unit, "ActiveState") != "active", "the unit", seconds=SOON)
    print(shown(living.unit, "Result"))
    living.verb("delete")
    assert status_code(living.unit) == 4

"""`update`, where there are no controllers: devices, which are a property alone, and all that is refused."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

from tests.integration.conftest import Bundle, Run

DENY = {"allow": False, "access": "rwm"}


def unit_property(unit: str, name: str) -> str:
    command = ["systemctl", "show", f"--property={name}", "--value", unit]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


@pytest.fixture
def running(run: Run, bundle: Bundle, container_id: str) -> Bundle:
    bundle.config["linux"]["resources"] = {"devices": [DENY]}
    bundle.args("sleep", "100")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    return bundle


def test_devices(run: Run, running: Bundle, container_id: str) -> None:
    """Changed in the unit, and in what the next `update` starts from; a daemon-reload is not asked for."""
    asked = {"devices": [DENY, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}
    done = run("update", "--resources", "-", container_id, input=json.dumps(asked))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit = f"pyoci-{container_id}.scope"
    assert "/dev/char/10:229 rw" in unit_property(unit, "DeviceAllow")
    assert unit_property(unit, "DevicePolicy") == "strict"
    assert unit_property(unit, "NeedDaemonReload") == "no"
    run("delete", "--force", container_id, check=True)


def test_empty_file_asks_for_nothing(run: Run, running: Bundle, container_id: str) -> None:
    for text in ("{}", '{"blockIO": {}}', '{"memory": null, "unified": {}}'):
        done = run("update", "-r", "-", container_id, input=text)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    run("delete", "--force", container_id, check=True)


@pytest.mark.parametrize(("options", "status", "words"), [
    ([], 1, "nothing to update"),
    (["--memory", "much"], 2, "option `--memory` takes a number, not `much`"),
    (["--memory=1m", "--memory-swap=1k"], 1, "resources: memory.swap"),
    (["--kernel-memory", "1m"], 1, "resources.memory.kernel: cgroup v2 has no such limit"),
    (["--cpu-rt-runtime", "1"], 1, "resources.cpu.realtimeRuntime: cgroup v2 has no such limit"),
    (["--blkio-weight", "1"], 1, "resources: blockIO.weight must be"),
    (["--cpuset-cpus", "2-1"], 1, "resources.cpu.cpus: `2-1` is not a list of numbers and ranges"),
    (["--resources", "/nowhere"], 1, "`/nowhere`: No such file or directory"),
])  # fmt: skip
def test_refused(run: Run, running: Bundle, container_id: str, options: list[str], status: int, words: str) -> None:
    done = run("update", *options, container_id)
    assert done.returncode == status
    assert done.stderr.startswith(f"pyoci: {words}")
    assert done.stderr.count("\n") == 1
    run("delete", "--force", container_id, check=True)


def test_controller_that_is_missing(run: Run, running: Bundle, container_id: str) -> None:
    """systemd takes the property all the same; so it is not told."""
    unit = f"pyoci-{container_id}.scope"
    group = pathlib.Path("/sys/fs/cgroup" + unit_property(unit, "ControlGroup"))
    if "memory" in (group / "cgroup.controllers").read_text().split():
        pytest.skip("the machine has a memory controller")
    done = run("update", "--memory", "64m", container_id)
    told = f"linux.resources.memory.limit: the memory controller is not available in `{group}/container`"
    told += ": this machine does not have it in cgroup v2"
    assert (done.returncode, done.stderr) == (1, f"pyoci: {told}\n")
    assert unit_property(unit, "MemoryMax") == "infinity"
    run("delete", "--force", container_id, check=True)


def test_who_is_not_there(run: Run, bundle: Bundle, container_id: str) -> None:
    assert run("update", "--memory", "1m", container_id).stderr == f"pyoci: container `{container_id}` does not exist\n"
    bundle.args("true")
    run("run", "--keep", "--bundle", bundle.path, container_id, check=True)
    done = run("update", "--memory", "1m", container_id)
    assert (done.returncode, done.stderr) == (1, f"pyoci: cannot update `{container_id}`: container not running\n")
    run("delete", container_id, check=True)


def test_without_a_cgroup(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "100")
    run("--cgroup-manager=disabled", "run", "--detach", "--bundle", bundle.path, container_id, check=True)
    done = run("update", "--memory", "1m", container_id)
    assert (done.returncode, done.stderr) == (
        1,
        f"pyoci: cannot update `{container_id}`: it has no cgroup of its own\n",
    )
    run("delete", "--force", container_id, check=True)

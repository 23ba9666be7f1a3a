"""`verify`: what it sees of what others have done to a container's limits, and what `--repair` does about it."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd.cgroup import bpf
from tests.integration.conftest import Container, Run
from tests.integration.needs import needs
from tests.integration.storm_scene import cgroup_of, scope_of

M = 1 << 20
DENY = {"allow": False, "access": "rwm"}
FUSE = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}


class Verdict:
    """What `verify --json` says."""

    def __init__(self, run: Run, name: str, *options: str) -> None:
        done = run("verify", "--json", *options, name)
        assert done.stderr == "", done
        self.status = done.returncode
        self.whole: dict[str, Any] = json.loads(done.stdout)
        self.rows = {row["name"]: row for row in self.whole["limits"]}
        self.differing = {name: row for name, row in self.rows.items() if row["differs"]}
        assert self.whole["agree"] == (self.differing == {}) == (self.status == 0)


def systemctl(*words: str) -> str:
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True, timeout=60).stdout


def set_property(unit: str, *settings: str) -> None:
    systemctl("set-property", "--runtime", unit, *settings)


@pytest.fixture
def devices(container: Container) -> str:
    """Return the scope of a container that may use /dev/fuse."""
    container.config["linux"]["resources"] = {"devices": [DENY, FUSE]}
    container.create()
    return f"pyoci-{container.name}.scope"


def test_all_agree(run: Run, container: Container, devices: str) -> None:
    verdict = Verdict(run, container.name)
    assert (verdict.status, verdict.whole["unit"], verdict.whole["repaired"]) == (0, devices, [])
    # rw as it was asked for, and m as every container may
    assert verdict.rows["device char 10:229"] == {
        "name": "device char 10:229", "config": "rwm", "unit": "rwm", "scope": None, "container": None, "note": "",
        "differs": False,
    }  # fmt: skip
    assert verdict.rows["device program"]["scope"] == "attached"
    table = run("verify", container.name, check=True).stdout.splitlines()
    assert [line.split() for line in table] == [
        ["LIMIT", "CONFIG", "UNIT", "SCOPE", "CONTAINER"],
        ["devices", "strict", "strict"],
        ["device", "…", "11", "rules", "11", "rules"],
        ["device", "program", "attached", "attached"],
    ]


def test_after_a_reload(run: Run, container: Container, devices: str) -> None:
    for word in ("daemon-reload", "daemon-reexec"):
        systemctl(word)
        assert Verdict(run, container.name).status == 0


def test_set_property_is_seen_and_mended(run: Run, container: Container, devices: str) -> None:
    set_property(devices, "DeviceAllow=/dev/char/1:11 r", "DeviceAllow=char-pts r")
    verdict = Verdict(run, container.name)
    told = {name: (row["config"], row["unit"], row["note"]) for name, row in verdict.differing.items()}
    note = "set by `systemctl set-property`"
    assert told == {"device char 1:11": ("", "r", note), "device char-pts": ("", "r", note)}
    lines = [line.split() for line in run("verify", container.name).stdout.splitlines()]
    assert ["device", "char", "1:11", "-", "r", "≠", *note.split()] in lines
    mended = Verdict(run, container.name, "--repair")
    assert (mended.status, mended.whole["repaired"]) == (
        0,
        [f"set DeviceAllow of `{devices}`", f"set DevicePolicy of `{devices}`"],
    )
    assert "1:11" not in systemctl("show", "--property=DeviceAllow", devices)
    assert Verdict(run, container.name, "--repair").whole["repaired"] == []


def test_devices_let_loose(run: Run, container: Container, devices: str) -> None:
    set_property(devices, "DevicePolicy=auto", "DeviceAllow=")
    verdict = Verdict(run, container.name)
    assert verdict.rows["devices"]["unit"] == "auto"
    assert verdict.rows["device program"]["scope"] == "missing"
    assert Verdict(run, container.name, "--repair").status == 0
    assert systemctl("show", "--property=DevicePolicy", "--value", devices) == "strict\n"


def test_update_is_no_difference(run: Run, container: Container, devices: str) -> None:
    asked = {"devices": [DENY, {**FUSE, "minor": 200}]}
    run("update", "--resources", "-", container.name, input=json.dumps(asked), check=True)
    verdict = Verdict(run, container.name)
    assert verdict.status == 0
    assert {"device char 10:200", "devices"} <= verdict.rows.keys() - {"device char 10:229"}


def test_a_cgroup_of_our_own(run: Run, container: Container) -> None:
    """The files alone, and our own program."""
    container.config["linux"]["resources"] = {"devices": [DENY, FUSE]}
    container.bundle.sh("exec sleep 1000")
    run("--cgroup-manager=cgroupfs", "create", "--bundle", container.bundle.path, container.name, check=True)
    verdict = Verdict(run, container.name)
    assert (verdict.status, verdict.whole["unit"], [*verdict.rows]) == (0, None, ["device program"])
    assert verdict.rows["device program"]["container"] == "attached"


@pytest.mark.parametrize("subgroup", ["", "a/b"])
def test_wherever_below_the_scope(run: Run, container: Container, subgroup: str) -> None:
    """The device program stands on the scope's directory, and on none above it, also after an `update`."""
    rules = [DENY, {**FUSE, "minor": -1}, {**FUSE, "allow": False}]  # all of a major but one: DeviceAllow= has no word
    container.config["linux"]["resources"] = {"devices": rules}
    container.config["annotations"] = {"run.oci.systemd.subgroup": subgroup}
    container.create()
    scope = scope_of(container.state()["pid"])
    asked = {"devices": [*rules, {**FUSE, "allow": False, "minor": 200}]}
    for _ in range(2):
        verdict = Verdict(run, container.name)
        assert (verdict.status, verdict.rows["device program"]["scope"]) == (0, "attached")
        assert [ours for ours, _ in bpf.seen(str(scope))].count(True) == 1
        assert not any(ours for ours, _ in bpf.seen(str(scope.parent)))
        run("update", "--resources", "-", container.name, input=json.dumps(asked), check=True)
    container.delete()


def test_without_pystemd(run: Run, container: Container, devices: str, tmp_path: pathlib.Path) -> None:
    """As far as the runtime can see; it takes no PYTHONPATH from anybody."""
    hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']
    where = next(pathlib.Path("/usr/lib/python3/dist-packages").glob("pystemd"))
    command = [*hide, str(where), "/usr/bin/pyoci", "verify", container.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    told = f"pyoci: cannot read `{devices}`: the Python package `pystemd` is missing\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_who_cannot_be_verified(run: Run, container: Container, wait_until: Callable[..., Any]) -> None:
    done = run("verify", container.name)
    assert (done.returncode, done.stderr) == (1, f"pyoci: container `{container.name}` does not exist\n")
    container.bundle.args("true")
    run("run", "--detach", "--bundle", container.bundle.path, container.name, check=True)
    wait_until(lambda: container.state()["status"] == "stopped", "the end")
    done = run("verify", container.name)
    told = f"pyoci: cannot verify `{container.name}`: container not running\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    run("delete", container.name, check=True)
    run("--cgroup-manager=disabled", "create", "--bundle", container.bundle.path, container.name, check=True)
    assert run("verify", container.name).stderr.endswith("it has no cgroup of its own\n")


# -- with controllers

LIMITS: Any = {
    "memory": {"limit": 64 * M + 1, "swap": 64 * M + 1, "reservation": 16 * M},
    "cpu": {"quota": 33333, "period": 100000, "shares": 512, "cpus": "0,1", "burst": 1000},
    "pids": {"limit": 100},
    "blockIO": {
        "weight": 500,
        "throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": M}],
        "throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 200}],
    },
    "unified": {"memory.high": "48M", "memory.oom.group": "1"},
    "devices": [DENY],
}
everything = needs("memory controller", "cpu controller", "cpuset controller", "pids controller", "io controller")


@everything
def test_every_limit(run: Run, container: Container) -> None:
    container.config["linux"]["resources"] = LIMITS
    container.create()
    verdict = Verdict(run, container.name)
    assert verdict.differing == {}
    told = {name: row["config"] for name, row in verdict.rows.items() if not name.startswith("device")}
    assert told == {
        "memory.max": f"{64 * M}",
        "memory.low": f"{16 * M}",
        "memory.swap.max": "0",
        "cpu.weight": "59",
        "cpu.max": "34%",
        "cpu.max.period": "100000",
        "cpu.max.burst": "1000",
        "cpuset.cpus": "0-1",
        "pids.max": "100",
        "io.weight": "4500",
        "io.max 254:0 rbps": f"{M}",
        "io.max 254:0 wiops": "200",
        "memory.high": f"{48 * M}",
        "memory.oom.group": "1",
        "cpu.idle": "0",
    }


@everything
def test_whoever_changed_what(run: Run, container: Container) -> None:
    """An administrator by systemctl, somebody in the scope's files, somebody in the container's own."""
    container.config["linux"]["resources"] = LIMITS
    container.create()
    unit = f"pyoci-{container.name}.scope"
    own = cgroup_of(container.state()["pid"])
    set_property(unit, "MemoryMax=32M", "IOReadBandwidthMax=/dev/block/254:0 2M", "MemoryMin=1M")
    (scope_of(container.state()["pid"]) / "pids.max").write_text("7")
    (own / "cpu.max").write_text("50000")
    (own / "memory.min").write_text("4096")
    verdict = Verdict(run, container.name)
    told = {
        name: tuple(row[key] for key in ("config", "unit", "scope", "container", "note"))
        for name, row in verdict.differing.items()
    }
    somebody = "set by `systemctl set-property`"
    assert told == {
        "memory.max": (f"{64 * M}", f"{32 * M}", f"{32 * M}", f"{64 * M}", somebody),
        "io.max 254:0 rbps": (f"{M}", "2000000", "2000000", f"{M}", somebody),
        "pids.max": ("100", "100", "7", "100", "the scope's file has been changed"),
        "cpu.max": ("34%", "34%", "34%", "50%", "the container's file has been changed"),
        "memory.min": ("0", f"{M}", f"{M}", "4096", somebody),
    }
    mended = Verdict(run, container.name, "--repair")
    assert mended.differing == {}, mended.whole["repaired"]
    assert {f"set MemoryMax of `{unit}`", f"wrote `33333 100000` to `{own}/cpu.max`"} <= {*mended.whole["repaired"]}
    assert "MemoryMax=67108865\n" in systemctl("show", "--property=MemoryMax", unit)


@everything
def test_limits_of_a_cgroup_of_our_own(run: Run, container: Container) -> None:
    container.config["linux"]["resources"] = LIMITS
    container.bundle.sh("exec sleep 1000")
    run("--cgroup-manager=cgroupfs", "create", "--bundle", container.bundle.path, container.name, check=True)
    assert Verdict(run, container.name).status == 0
    (cgroup_of(container.state()["pid"]) / "memory.max").write_text("max")
    verdict = Verdict(run, container.name)
    assert [*verdict.differing] == ["memory.max"]
    assert Verdict(run, container.name, "--repair").status == 0

"""Containers as services: `pyoci@NAME.service`, asked and commanded by systemctl alone, and seen from inside.

crun has no such units: these are about what we ship.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Bundle, Run
from tests.integration.needs import needs

pytestmark = pytest.mark.skipif(CRUN, reason="about the units that we ship")

BUNDLES = pathlib.Path("/var/lib/pyoci")
UNITS = pathlib.Path("/usr/lib/systemd")
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def systemctl(*words: str, check: bool = True) -> str:
    """Run systemctl and return what it says."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0 or not check, done
    return done.stdout


class Service:
    """The service of one bundle."""

    def __init__(self, run: Run, bundle: Bundle, name: str) -> None:
        self.run, self.bundle, self.name = run, bundle, name
        self.unit = f"pyoci@{name}.service"
        self.cgroup = CGROUPS / "system.slice/system-pyoci.slice" / self.unit

    def start(self, script: str, stop: str = "exit 0", signal: str = "TERM") -> None:
        """Start it with a shell script for a program, and wait until that would do `stop` when it is asked to stop."""
        (self.bundle.rootfs / "listens").unlink(missing_ok=True)
        self.bundle.sh(f"trap '{stop}' {signal}; echo >/listens; {script}")
        systemctl("start", self.unit)
        deadline = time.monotonic() + 5
        while not (self.bundle.rootfs / "listens").exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    def fitted(self, *options: str) -> None:
        """Have `pyoci unit` write drop-ins, and systemd read them."""
        self.run("unit", *options, self.name, check=True)
        systemctl("daemon-reload")

    def shows(self, name: str) -> str:
        """Return a property of the unit."""
        return systemctl("show", "--property", name, "--value", self.unit).strip()

    def state(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run("state", self.name, check=True).stdout)
        return answer

    def gone(self) -> bool:
        """Is nothing left of the container, neither state nor cgroup."""
        return self.run("state", self.name).returncode != 0 and not self.cgroup.exists()


@pytest.fixture
def service(run: Run, bundle: Bundle, container_id: str) -> Iterator[Service]:
    """Return a service whose bundle is where the shipped unit looks for it."""
    BUNDLES.mkdir(exist_ok=True)
    (BUNDLES / container_id).symlink_to(bundle.path)
    bundle.config["root"]["readonly"] = False
    made = Service(run, bundle.write(), container_id)
    systemctl("start", "systemd-journald.service")
    yield made
    systemctl("kill", "--signal=KILL", made.unit, check=False)
    systemctl("stop", made.unit, check=False)
    systemctl("reset-failed", made.unit, check=False)
    run("unit", "--remove", made.name)
    systemctl("daemon-reload")
    (BUNDLES / container_id).unlink()


LOOP = "while :; do sleep 0.1; done"


@pytest.mark.parametrize("manager", ["system", "user"])
def test_verified(manager: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Not a word of `systemd-analyze verify`, neither for the templates nor for an instance."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    units = sorted((UNITS / manager).glob("pyoci@.*"))
    assert [unit.suffix for unit in units] == [".service", ".socket"]
    instances = [unit.with_name(unit.name.replace("@", "@web")) for unit in units]
    command = ["systemd-analyze", f"--{manager}", "verify", *map(str, [*units, *instances])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_web_server(service: Service, wait_until: Callable[..., Any]) -> None:
    config = service.bundle.config
    config["linux"]["namespaces"] = [kind for kind in config["linux"]["namespaces"] if kind["type"] != "network"]
    (service.bundle.rootfs / "index.html").write_text("hello from a service")
    service.start("httpd -f -p 127.0.0.1:8765 -h / & wait")

    def page() -> str:
        try:
            return str(urllib.request.urlopen("http://127.0.0.1:8765/", timeout=5).read().decode())
        except OSError:
            return ""

    assert wait_until(page, "the page") == "hello from a service"
    status = systemctl("status", "--no-pager", "--full", service.unit)
    assert f"running as process {service.state()['pid']}" in status
    assert "httpd -f -p 127.0.0.1:8765" in status
    assert (service.cgroup / "container/cgroup.procs").read_text().split()[0] == str(service.state()["pid"])
    assert (service.cgroup / "supervisor/cgroup.procs").read_text().split() == [service.shows("MainPID")]
    assert "systemd-scope" not in service.state()
    began = time.monotonic()
    systemctl("stop", service.unit)
    assert (service.shows("ActiveState"), service.shows("Result")) == ("inactive", "success")
    assert time.monotonic() - began < 10
    assert service.gone()


def test_the_container_sees_its_half_alone(service: Service, wait_until: Callable[..., Any]) -> None:
    service.start(f"cat /proc/self/cgroup >/seen; echo >>/seen; {LOOP}")
    seen = service.bundle.rootfs / "seen"
    wait_until(lambda: seen.exists() and seen.read_text().endswith("\n\n"), "a word")
    assert "0::/" in seen.read_text().splitlines()


@pytest.mark.parametrize("asked", ["QUIT", "SIGUSR1", "10"])
def test_stopped_as_its_image_asks(service: Service, asked: str) -> None:
    service.bundle.config["annotations"] = {"org.opencontainers.image.stopSignal": asked}
    service.start(LOOP, "echo >/stopped; exit 0", "QUIT" if asked == "QUIT" else "USR1")
    systemctl("stop", service.unit)
    assert (service.bundle.rootfs / "stopped").exists()
    assert service.shows("ActiveState") == "inactive"
    assert service.gone()


def test_an_end_by_the_signal_to_stop_is_clean(service: Service) -> None:
    """The first process of a pid namespace dies of no signal that it does not handle: this one is not the first."""
    config = service.bundle.config
    config["linux"]["namespaces"] = [kind for kind in config["linux"]["namespaces"] if kind["type"] != "pid"]
    service.start("exec sleep 1000", "-")
    systemctl("stop", service.unit)
    assert service.shows("ActiveState") == "inactive"


def test_killed_when_it_does_not_stop(service: Service) -> None:
    service.fitted("--stop-timeout", "1")
    service.start(LOOP, "")
    began = time.monotonic()
    systemctl("stop", service.unit)
    assert 1 <= time.monotonic() - began < 10
    assert service.shows("Result") == "timeout"
    assert service.gone()
    systemctl("reset-failed", service.unit)
    assert service.shows("ActiveState") == "inactive"


def test_restarted_when_it_fails(service: Service, wait_until: Callable[..., Any]) -> None:
    service.start(f"[ -e /again ] && {LOOP}; touch /again; exit 3")
    wait_until(lambda: service.shows("NRestarts") == "1" and service.shows("ActiveState") == "active", "the restart")
    assert service.state()["status"] == "running"


def test_restarted_when_its_supervisor_is_killed(service: Service, wait_until: Callable[..., Any]) -> None:
    """What was left, state and processes, is cleared before."""
    service.bundle.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", "echo >>/run/poststops"]}]}
    service.start(LOOP, "")
    try:
        first = service.state()["pid"]
        os.kill(int(service.shows("MainPID")), signal.SIGKILL)
        wait_until(lambda: service.shows("NRestarts") == "1" and service.shows("ActiveState") == "active", "a restart")
        assert service.state()["pid"] != first
        assert not pathlib.Path(f"/proc/{first}").exists()
        assert pathlib.Path("/run/poststops").read_text() == "\n"
    finally:
        pathlib.Path("/run/poststops").unlink(missing_ok=True)


def test_a_container_of_that_name_elsewhere_is_left_alone(service: Service) -> None:
    service.bundle.sh(LOOP)
    service.run("run", "--detach", "--bundle", service.bundle.path, service.name, check=True)
    pid = service.state()["pid"]
    service.fitted("--restart", "no")
    assert "failed" in subprocess.run(["systemctl", "start", service.unit], capture_output=True, text=True).stderr
    assert service.state()["pid"] == pid


def test_restart(service: Service) -> None:
    service.start(LOOP)
    first = service.state()["pid"]
    systemctl("restart", service.unit)
    assert service.state()["pid"] != first
    assert service.shows("NRestarts") == "0"


def test_daemon_reload_changes_nothing(service: Service) -> None:
    service.start(LOOP)
    pid = service.state()["pid"]
    systemctl("daemon-reload")
    systemctl("daemon-reexec")
    assert (service.cgroup / "container/cgroup.procs").read_text().split()[0] == str(pid)
    assert service.shows("ActiveState") == "active"
    assert service.run("exec", service.name, "echo", "in", check=True).stdout == "in\n"


@needs("memory controller", "pids controller")
def test_limits_of_the_whole_and_of_the_container(service: Service) -> None:
    service.bundle.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
    service.start(LOOP)
    assert (service.cgroup / "container/memory.max").read_text().strip() == str(64 << 20)
    assert (service.cgroup / "container/pids.max").read_text().strip() == "50"
    systemctl("set-property", "--runtime", service.unit, "MemoryMax=100M")
    assert (service.cgroup / "memory.max").read_text().strip() == str(100 << 20)
    systemctl("daemon-reload")
    assert (service.cgroup / "container/memory.max").read_text().strip() == str(64 << 20)
    # no process may stand in a cgroup that hands controllers down: neither may the next supervisor
    for _ in range(3):
        systemctl("restart", service.unit)
        assert (service.cgroup / "container/memory.max").read_text().strip() == str(64 << 20)
    systemctl("stop", service.unit)
    assert service.gone()


def test_who_says_that_it_is_ready(service: Service) -> None:
    """A service whose program is to say so, and does not, never gets there."""
    service.fitted("--notify", "container", "--restart", "no")
    service.bundle.sh(LOOP)
    systemctl("start", "--no-block", service.unit)
    deadline = time.monotonic() + 5
    while service.run("state", service.name).returncode != 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.shows("ActiveState") == "activating"


def test_another_bundle(service: Service, tmp_path: pathlib.Path) -> None:
    """With characters that mean something to systemd."""
    moved = tmp_path / "a %i $HOME 'b'"
    shutil.move(service.bundle.path, moved)
    service.bundle.path, service.bundle.rootfs = moved, moved / "rootfs"
    service.bundle.sh(LOOP)
    service.fitted("--bundle", str(moved))
    systemctl("start", service.unit)
    assert service.state()["bundle"] == str(moved)
    done = subprocess.run(["systemd-analyze", "verify", service.unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_cgroup_that_is_not_delegated_is_refused(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("true")
    command = ["pyoci", "--cgroup-manager=split", "run", "--bundle", str(bundle.path), container_id]
    starter = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect"]
    done = subprocess.run([*starter, *command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith("pyoci: the cgroup `/sys/fs/cgroup/system.slice/run-")
    assert done.stderr.endswith("is not delegated to us\n")
    done = subprocess.run([*starter, "--property=Delegate=yes", *command], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_supervisor(run: Run, bundle: Bundle, container_id: str, wait_until: Callable[..., Any]) -> None:
    """`run --detach` tells systemd the main process, which is systemd's own child from then on."""
    bundle.config["root"]["readonly"] = False
    bundle.sh(f"trap 'exit 7' TERM; : >/trapped; {LOOP}")
    unit = f"{container_id}.service"
    command = ["pyoci", "--cgroup-manager=split", "run", "--detach", "--notify=runtime"]
    # not KillMode=mixed: a main process that is still our child when it is named is one for which systemd would not wait
    properties = ["--property=Type=notify", "--property=Delegate=yes"]
    try:
        starter = ["systemd-run", "--quiet", f"--unit={unit}", *properties]
        subprocess.run([*starter, *command, "--bundle", str(bundle.path), container_id], check=True, timeout=30)
        pid = json.loads(run("state", container_id, check=True).stdout)["pid"]
        assert systemctl("show", "--property=MainPID", "--value", unit).strip() == str(pid)
        wait_until((bundle.rootfs / "trapped").exists, "the trap")
        systemctl("stop", unit)
        assert systemctl("show", "--property=ExecMainStatus", "--value", unit).strip() == "7"
    finally:
        systemctl("stop", unit, check=False)
        systemctl("reset-failed", unit, check=False)


def test_of_the_user_s_manager(run: Run, bundle: Bundle, container_id: str) -> None:
    """Root's own, which needs nothing of what containers of other users need."""
    place = pathlib.Path.home() / ".local/share/pyoci"
    place.mkdir(parents=True, exist_ok=True)
    (place / container_id).symlink_to(bundle.path)
    unit = f"pyoci@{container_id}.service"
    config = os.environ | {"XDG_RUNTIME_DIR": "/run/user/0"}

    def manager(*words: str) -> str:
        command = ["systemctl", "--user", *words]
        done = subprocess.run(command, env=config, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done
        return done.stdout.strip()

    bundle.sh(f"trap 'exit 0' TERM; {LOOP}")
    systemctl("start", "user@0.service")
    try:
        manager("start", unit)
        pid = json.loads(run("state", container_id, check=True).stdout)["pid"]
        cgroup = manager("show", "--property=ControlGroup", "--value", unit)
        assert cgroup.startswith("/user.slice/user-0.slice/user@0.service/app.slice/app-pyoci.slice/")
        assert str(pid) in pathlib.Path(f"{CGROUPS}{cgroup}/container/cgroup.procs").read_text().split()
        assert f"running as process {pid}" in manager("status", "--no-pager", unit)
        manager("stop", unit)
        assert run("state", container_id).returncode != 0
    finally:
        subprocess.run(["systemctl", "--user", "kill", "--signal=KILL", unit], env=config, capture_output=True)
        systemctl("stop", "user@0.service", "user-runtime-dir@0.service")
        (place / container_id).unlink()

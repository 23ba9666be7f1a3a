"""Containers inside a service that systemd has delegated a part of the hierarchy to, and below threads."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container, Podman, Run
from tests.integration.exec_scene import CGROUPS, alive, cgroup, settled
from tests.integration.needs import needs

SERVICE = "pyoci-delegated.service"
OWN = CGROUPS / "system.slice" / SERVICE

# what the service does: stand where it is told to, and run what it is told to
INSIDE = 'set -e; own=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); {move}\nexec "$0" "$@"'
ASIDE = 'mkdir "$own/supervisor"; echo $$ >"$own/supervisor/cgroup.procs"'


@pytest.fixture
def service() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return what runs a command as a delegated service; `move` is a script that goes first."""
    started: list[subprocess.Popen[str]] = []

    def run(*command: str, move: str = ASIDE) -> subprocess.Popen[str]:
        how = ["systemd-run", "--quiet", "--pipe", "--collect", f"--unit={SERVICE}"]
        how += ["--property=Delegate=yes", "--property=TimeoutStopSec=1"]  # process 1 of a container heeds no SIGTERM
        script = INSIDE.format(move=move).replace("$", "$$")  # systemd expands variables, too
        started.append(
            subprocess.Popen(
                [*how, "sh", "-c", script, *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return started[-1]

    yield run
    subprocess.run(["systemctl", "stop", SERVICE], capture_output=True, timeout=30)
    for process in started:
        process.communicate(timeout=20)


def placed(container: Container, path: str) -> Container:
    container.config["linux"]["cgroupsPath"] = path
    container.bundle.sh("exec sleep 1000")
    return container


@pytest.mark.parametrize("move", [ASIDE, ""], ids=["from a cgroup of it", "from its own cgroup"])
def test_inside_a_delegated_service(
    container: Container, runtime: str, service: Callable[..., subprocess.Popen[str]], wait_until: Any, move: str
) -> None:  # W12; clients.md: no --systemd-cgroup, and cgroupsPath lies inside
    placed(container, f"/system.slice/{SERVICE}/payload")
    running = service(runtime, "run", "--bundle", str(container.bundle.path), container.name, move=move)
    wait_until(lambda: container.run("state", container.name).returncode == 0, "the container")
    wait_until(lambda: container.state()["status"] == "running", "its program")
    pid = container.state()["pid"]
    assert cgroup(pid) == OWN / "payload"
    assert (OWN / "payload/cgroup.type").read_text() == "domain\n"
    assert not container.state().get("systemd-scope")
    shown = subprocess.run(["systemctl", "status", "--no-pager", SERVICE], capture_output=True, text=True, timeout=20)
    assert f"{pid} sleep 1000" in shown.stdout
    container.run("kill", container.name, "KILL", check=True)
    _, said = running.communicate(timeout=20)
    assert (running.returncode, said) == (137, ""), said
    assert settled(lambda: not OWN.exists())


def test_the_end_of_the_service_is_the_container_s(
    container: Container, runtime: str, service: Callable[..., subprocess.Popen[str]], wait_until: Any
) -> None:
    placed(container, f"/system.slice/{SERVICE}/payload")
    service(runtime, "run", "--bundle", str(container.bundle.path), container.name)
    wait_until(lambda: container.run("state", container.name).returncode == 0, "the container")
    wait_until(lambda: container.state()["status"] == "running", "its program")
    pid = container.state()["pid"]
    subprocess.run(["systemctl", "stop", SERVICE], check=True, timeout=30)
    assert not alive(pid)
    if container.run("state", container.name).returncode == 0:
        assert container.state()["status"] == "stopped"
    container.delete()
    assert not OWN.exists()


@needs("memory controller", "pids controller")
def test_limits_inside_a_delegated_service(
    container: Container, runtime: str, service: Callable[..., subprocess.Popen[str]]
) -> None:
    """The service's controllers reach the container, unless the caller stands in their way: then it is told."""
    placed(container, f"/system.slice/{SERVICE}/payload")
    container.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 33}}
    container.bundle.write()
    files = " ".join(str(OWN / "payload" / name) for name in ("memory.max", "pids.max"))
    look = f"set -e; {runtime} create --bundle {container.bundle.path} {container.name}; cat {files}"
    out, said = service("sh", "-c", f"{look}; {runtime} delete --force {container.name}").communicate(timeout=60)
    assert (out.split(), said) == ([str(64 << 20), "33"], "")
    assert settled(lambda: not OWN.exists(), 5.0)
    if CRUN:
        return  # which waits for a second, and says `Device or resource busy`
    running = service(runtime, "create", "--bundle", str(container.bundle.path), container.name, move="")
    _, said = running.communicate(timeout=60)
    assert (running.returncode, len(said.splitlines())) == (1, 1)
    assert "linux.resources.memory.limit: the memory controller is not available" in said
    assert f"processes live in `{OWN}`, so it hands no controllers down" in said


# -- podman


@pytest.fixture
def quadlet(podman: Podman) -> Iterator[Callable[[str], str]]:
    """Return what starts a container that quadlet makes a service of; `text` is its section [Container]."""
    directory = pathlib.Path("/etc/containers/systemd")
    path = directory / "pyociquadlet.container"

    def start(text: str) -> str:
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"[Container]\nImage={podman.image}\nNetwork=none\nPull=never\nGlobalArgs=--runtime={podman.runtime}\n{text}"
        )
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)
        subprocess.run(["systemctl", "start", "pyociquadlet.service"], check=True, timeout=60)
        return "pyociquadlet.service"

    yield start
    path.unlink(missing_ok=True)
    subprocess.run(["systemctl", "stop", "pyociquadlet.service"], capture_output=True, timeout=60)
    subprocess.run(["systemctl", "reset-failed", "pyociquadlet.service"], capture_output=True, timeout=20)
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)


def has_quadlet() -> bool:
    return pathlib.Path("/usr/lib/systemd/system-generators/podman-system-generator").exists()


@pytest.mark.skipif(not has_quadlet(), reason="podman came without quadlet before 4.4")
def test_quadlet(quadlet: Callable[[str], str], podman: Podman, run: Run) -> None:
    """Its `--cgroups=split`: the container is a part of its service, and goes with it."""
    unit = quadlet("Exec=sleep 1000\nContainerName=quad\nPodmanArgs=--pids-limit=0\n")
    own = CGROUPS / "system.slice" / unit
    pid = int(podman("inspect", "--format={{.State.Pid}}", "quad").stdout)
    assert cgroup(pid).parent == own and cgroup(pid).name.startswith("libpod-payload-")
    listed = json.loads(run("list", "--format", "json", check=True).stdout)
    assert [entry["status"] for entry in listed] == ["running"]
    assert podman("exec", "quad", "cat", "/proc/self/cgroup").stdout.splitlines()[-1] == "0::/"
    subprocess.run(["systemctl", "stop", unit], check=True, timeout=60)
    assert not alive(pid) and not own.exists()


def test_podman_splits_a_delegated_service(
    podman: Podman, service: Callable[..., subprocess.Popen[str]], wait_until: Any
) -> None:
    options = ["--rm", "--name=split", "--cgroups=split", "--network=none", "--pids-limit=0"]
    running = service(
        "podman", "--runtime", podman.runtime, "run", *options, podman.image, "sh", "-c", "exec sleep 1000", move=""
    )
    show = "--format={{.State.Pid}}"
    wait_until(lambda: podman("inspect", show, "split", check=False).stdout.strip() not in ("", "0"), "it", seconds=20)
    pid = int(podman("inspect", show, "split").stdout)
    assert cgroup(pid).parent == OWN
    podman("kill", "split")
    running.communicate(timeout=20)
    assert running.returncode == 137
    assert settled(lambda: not OWN.exists())


# -- threads


@pytest.fixture
def threads() -> Iterator[pathlib.Path]:
    """Return a threaded cgroup."""
    top = CGROUPS / "pyoci-threads"
    (top / "threaded").mkdir(parents=True)
    (top / "threaded/cgroup.type").write_text("threaded")
    yield top / "threaded"
    (top / "threaded").rmdir()
    top.rmdir()


def test_below_threads(container: Container, threads: pathlib.Path, wait_until: Any) -> None:  # F245
    """A cgroup that is threaded: nobody reads its cgroup.procs, and cgroup.kill kills nobody in it."""
    where = f"/pyoci-threads/threaded/{container.name}"
    container.config["linux"]["cgroupsPath"] = where
    container.bundle.sh("sleep 1000 & sleep 1000 & wait")
    how = "--cgroup-manager=cgroupfs"
    container.run(how, "run", "--detach", "--bundle", container.bundle.path, container.name, check=True)
    pid = container.state()["pid"]
    assert cgroup(pid) == threads / container.name
    assert (threads / container.name / "cgroup.type").read_text() == "threaded\n"
    container.run("exec", container.name, "true", check=True)
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 2, "two children")
    container.run("pause", container.name, check=True)
    assert container.state()["status"] == "paused"
    container.run("resume", container.name, check=True)
    if not CRUN:  # which lists none of them, and kills the first alone
        pids = {pid, *map(int, children.read_text().split())}
        listed = json.loads(container.run("ps", "--format=json", container.name, check=True).stdout)
        assert set(listed) == pids
        container.run("kill", "--all", container.name, "KILL", check=True)
        wait_until(lambda: not any(map(alive, pids)), "the end of all")
    container.delete()
    assert [path.name for path in threads.iterdir() if path.is_dir()] == []

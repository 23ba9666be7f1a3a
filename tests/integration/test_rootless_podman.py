"""Podman of a user without privileges, with the runtime under test: it runs us as root of a user namespace of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import CRUN
from tests.integration.rootless_scene import User, alice, settled

__all__ = ["alice"]

IMAGE = "localhost/busybox"
LOOP = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done"


class Hers:
    """Podman of a user's."""

    def __init__(self, user: User) -> None:
        self.user = user

    def __call__(self, verb: str, *args: str, check: bool = True, inside: bool = False) -> str:
        """Run podman with a verb and return what it prints; a container has no network, and no limits."""
        limits = ["--network=none", "--pids-limit=0"] if verb == "run" else []
        command = ["podman", "--storage-driver=vfs", "--runtime", self.user.runtime, verb, *limits, *args]
        return self.user.does(*command, check=check, inside=inside, timeout=60).stdout


@pytest.fixture(scope="module")
def podman(alice: User, busybox_rootfs: Any) -> Hers:
    """Return alice's podman with an image of busybox."""
    archive = alice.home / "image.tar"
    subprocess.run(["tar", "-C", busybox_rootfs, "-cf", archive, "."], check=True)
    client = Hers(alice)
    client("import", "--quiet", str(archive), IMAGE)
    return client


@pytest.fixture
def up(podman: Hers, wait_until: Callable[..., Any]) -> Iterator[str]:
    """Return a container that runs until it is asked to end."""
    name = podman("run", "--detach", IMAGE, "sh", "-c", LOOP).strip()
    wait_until(lambda: podman("logs", name) == "up\n", "it to say that it is up")
    yield name
    podman("rm", "--force", "--time=0", "--ignore", name)
    assert settled(podman.user) == []


@pytest.mark.parametrize("inside", [False, True])
def test_run(podman: Hers, inside: bool) -> None:
    """From a login session, and from a service of her systemd."""
    assert podman("run", "--rm", IMAGE, "sh", "-c", "id -u; tail -n 1 /proc/self/cgroup", inside=inside) == "0\n0::/\n"


def test_exec_stop_remove(podman: Hers, up: str) -> None:
    unit = f"libpod-{up}.scope"
    assert podman.user.systemctl("show", "--value", "--property=ActiveState", unit) == "active\n"
    assert podman("exec", up, "sh", "-c", "id -u; tail -n 1 /proc/self/cgroup") == "0\n0::/\n"
    podman("pause", up)
    assert CRUN or podman.user.systemctl("show", "--value", "--property=FreezerState", unit) == "frozen\n"  # D18
    podman("unpause", up)
    podman("stop", up)
    assert podman("logs", up) == "up\nbye\n"
    assert podman("inspect", "--format={{.State.ExitCode}}", up) == "3\n"
    podman("rm", up)


# options, a script, what it prints
ASKED: dict[str, tuple[list[str], str, str]] = {
    "user": (["--user=33:34"], "id -u; id -g", "33\n34\n"),
    "keep-id": (["--userns=keep-id"], "id -u", "1000\n"),
    "host's pids": (["--pid=host"], "id -u", "0\n"),
    "host's ipc": (["--ipc=host", "--uts=host"], "id -u", "0\n"),
    "privileged": (["--privileged"], "id -u", "0\n"),
    "read-only": (["--read-only"], "touch /x 2>&1 || echo no", "touch: /x: Read-only file system\nno\n"),
    "volumes": (["--volume=/usr:/a:ro", "--volume=/usr:/b"], "ls -d /a/bin /b/bin", "/a/bin\n/b/bin\n"),
    "oom score": (["--oom-score-adj=500"], "cat /proc/self/oom_score_adj", "500\n"),
    "host's cgroups": (  # CVE-2023-25809
        ["--cgroupns=host"], "mkdir /sys/fs/cgroup/x 2>&1 || echo no",
        "mkdir: can't create directory '/sys/fs/cgroup/x': Read-only file system\nno\n",
    ),
}  # fmt: skip


def test_no_session(podman: Hers, alice: User) -> None:
    """Podman says so, and runs us as if there were no systemd (W1)."""
    lonely = alice.home / "runtime-dir"
    lonely.mkdir(mode=0o700)
    os.chown(lonely, alice.uid, alice.uid)
    elsewhere = {**alice.environ, "XDG_RUNTIME_DIR": str(lonely), "HOME": str(lonely)}
    command = ["podman", "--storage-driver=vfs", "--runtime", alice.runtime]
    archive = alice.home / "image.tar"
    alice.does(*command, "import", "--quiet", archive, IMAGE, env=elsewhere, check=True, timeout=60)
    run = ["run", "--rm", "--network=none", "--pids-limit=0", IMAGE, "id", "-u"]
    done = alice.does(*command, *run, env=elsewhere, check=True, timeout=60)
    assert done.stdout == "0\n"
    assert "Falling back to --cgroup-manager=cgroupfs" in done.stderr
    alice.does("podman", "system", "migrate", env=elsewhere, check=True, timeout=60)
    subprocess.run(["rm", "-r", lonely], check=True)


@pytest.mark.parametrize("case", ASKED)
def test_asked(podman: Hers, case: str) -> None:
    options, script, said = ASKED[case]
    assert podman("run", "--rm", *options, IMAGE, "sh", "-c", script) == said

"""Podman with the runtime under test, from run to nothing left."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from tests.integration.conftest import Podman


def test_run_prints_and_leaves_nothing(podman: Podman) -> None:
    done = podman("run", "--rm", podman.image, "echo", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_run_exits_as_the_container_does(podman: Podman) -> None:
    assert podman("run", "--rm", podman.image, "sh", "-c", "exit 7", check=False).returncode == 7


def test_a_missing_program_is_127(podman: Podman) -> None:
    done = podman("run", "--rm", podman.image, "nothing-of-this-name", check=False)
    assert done.returncode == 127
    assert "nothing-of-this-name" in done.stderr


def test_detached_logs_stop_remove(podman: Podman, wait_until: Callable[..., Any]) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done"
    container = podman("run", "--detach", podman.image, "sh", "-c", script).stdout.strip()
    wait_until(lambda: podman("logs", container).stdout == "up\n", "the container to say that it is up")
    scope = subprocess.run(
        ["systemctl", "show", "--value", "--property=ActiveState", f"libpod-{container}.scope"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert scope.stdout == "active\n"
    podman("stop", container)
    assert podman("logs", container).stdout == "up\nbye\n"
    assert podman("inspect", "--format={{.State.ExitCode}}", container).stdout == "3\n"
    podman("rm", container)

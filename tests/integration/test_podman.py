"""Podman with the runtime under test, from run to nothing left."""

from __future__ import annotations

import os
import pathlib
import pty
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Podman
from tests.integration.machined_scene import machines, shown
from tests.integration.needs import SLOWER

LOOP = "while :; do sleep 0.1; done"


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


@pytest.fixture
def running(podman: Podman) -> Iterator[Callable[..., str]]:
    """Return what starts a container in the background, by a script; it is removed when the test ends."""
    started: list[str] = []

    def start(*options: str, script: str = LOOP) -> str:
        container = podman("run", "--detach", *options, podman.image, "sh", "-c", script).stdout.strip()
        started.append(container)
        return container

    yield start
    for container in started:
        podman("rm", "--force", "--time=0", container, check=False)


def inspected(podman: Podman, container: str, what: str) -> str:
    """Return one member of what podman knows of a container."""
    return podman("inspect", f"--format={{{{{what}}}}}", container).stdout.strip()


def up(podman: Podman, container: str, wait_until: Callable[..., Any]) -> None:
    wait_until(lambda: podman("logs", container).stdout.startswith("up\n"), "the container to say that it is up")


def test_who_heeds_the_signal_is_stopped_at_once(
    podman: Podman, running: Callable[..., str], wait_until: Callable[..., Any]
) -> None:
    container = running(script=f"trap 'exit 0' TERM; echo up; {LOOP}")
    up(podman, container, wait_until)
    began = time.monotonic()
    podman("stop", "--time=9", container)
    assert time.monotonic() - began < 5
    assert inspected(podman, container, ".State.ExitCode") == "0"


def test_who_does_not_is_killed_after_the_time(
    podman: Podman, running: Callable[..., str], wait_until: Callable[..., Any]
) -> None:
    container = running(script=f"trap '' TERM; echo up; {LOOP}")
    up(podman, container, wait_until)
    began = time.monotonic()
    podman("stop", "--time=1", container)
    assert 1 <= time.monotonic() - began < 9
    assert inspected(podman, container, ".State.ExitCode") == "137"


@pytest.mark.parametrize("signal", ["USR1", "SIGUSR1", "10"])
def test_a_signal_is_delivered(
    podman: Podman, running: Callable[..., str], wait_until: Callable[..., Any], signal: str
) -> None:
    container = running(script=f"trap 'echo got; exit 5' USR1; echo up; {LOOP}")
    up(podman, container, wait_until)
    podman("kill", "--signal", signal, container)
    assert podman("wait", container).stdout == "5\n"
    assert podman("logs", container).stdout == "up\ngot\n"


def test_what_podman_knows_of_it(podman: Podman, running: Callable[..., str]) -> None:
    container = running("--name=known", "--hostname=web")
    assert inspected(podman, container, ".State.Status") == "running"
    pid = inspected(podman, container, ".State.Pid")
    assert pathlib.Path(f"/proc/{pid}/comm").read_text() == "sh\n"
    assert podman("ps", "--format={{.Names}} {{.Status}}").stdout.startswith("known Up ")
    assert podman("top", container, "pid", "comm").stdout.split()[:4] == ["PID", "COMMAND", "1", "sh"]
    podman("stop", "--time=0", container)
    assert inspected(podman, container, ".State.Status") == "exited"
    assert podman("ps", "--format={{.Names}}").stdout == ""


def test_restarted_as_often_as_asked(
    podman: Podman, running: Callable[..., str], wait_until: Callable[..., Any]
) -> None:
    container = running("--restart=on-failure:2", script="echo run; exit 3")
    wait_until(lambda: podman("logs", container).stdout == "run\n" * 3, "three runs", seconds=20)
    wait_until(lambda: inspected(podman, container, ".State.Status") == "exited", "the last to end", seconds=20)
    assert inspected(podman, container, ".RestartCount") == "2"
    assert inspected(podman, container, ".State.ExitCode") == "3"


def test_started_again(podman: Podman, running: Callable[..., str]) -> None:
    container = running(script="echo run")
    podman("wait", container)
    podman("start", "--attach", container)
    assert podman("logs", container).stdout == "run\nrun\n"


def test_exec(podman: Podman, running: Callable[..., str]) -> None:
    container = running("--user=1000:50", "-e", "A=b")
    assert podman("exec", container, "sh", "-c", "echo $A; id -u; id -g").stdout == "b\n1000\n50\n"
    options = ["--user=0", "--workdir=/tmp", "--env=A=c"]
    assert podman("exec", *options, container, "sh", "-c", "echo $A; id -u; pwd").stdout == "c\n0\n/tmp\n"
    assert podman("exec", container, "sh", "-c", "exit 9", check=False).returncode == 9
    assert podman("exec", container, "nothing-of-this-name", check=False).returncode == 127
    assert podman("exec", container, "/etc/passwd", check=False).returncode == 126


def test_copied_in_and_out(podman: Podman, running: Callable[..., str], tmp_path: pathlib.Path) -> None:
    container = running()
    (tmp_path / "in").write_text("text\n")
    podman("cp", str(tmp_path / "in"), f"{container}:/tmp/there")
    assert podman("exec", container, "cat", "/tmp/there").stdout == "text\n"
    podman("cp", f"{container}:/tmp/there", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "text\n"


@pytest.mark.parametrize(("command", "status"), [("true", "healthy"), ("false", "unhealthy")])
def test_health_is_looked_after(podman: Podman, running: Callable[..., str], command: str, status: str) -> None:
    container = running(f"--health-cmd={command}", "--health-interval=disable", "--health-retries=1")
    assert podman("healthcheck", "run", container, check=False).returncode == (status == "unhealthy")
    assert inspected(podman, container, ".State.Health.Status") == status


def through_a_terminal(podman: Podman, *args: str, typed: str = "") -> tuple[int, str]:
    """Run podman on a terminal of its own; return its exit status and what it wrote there."""
    master, slave = pty.openpty()
    command = ["podman", "--runtime", podman.runtime, *args]
    try:
        client = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        os.write(master, typed.encode())
        said = b""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and select.select([master], [], [], deadline - time.monotonic())[0]:
            try:
                said += os.read(master, 4096)
            except OSError:  # EIO: nobody has the other end any more
                break
        return client.wait(30), said.decode()
    finally:
        os.close(master)


def test_a_terminal(podman: Podman) -> None:
    script = "tty; test -t 0 -a -t 1 -a -t 2 && echo all; exit 6"
    limits = ["--network=none", "--pids-limit=0"]
    status, said = through_a_terminal(podman, "run", "--rm", "-t", *limits, podman.image, "sh", "-c", script)
    assert (status, said.split()) == (6, ["/dev/pts/0", "all"])


def test_typed_into_a_terminal(podman: Podman) -> None:
    limits = ["--network=none", "--pids-limit=0"]
    command = ["run", "--rm", "-it", *limits, podman.image, "sh", "-c", "read line; echo got $line"]
    status, said = through_a_terminal(podman, *command, typed="hello\n")
    assert status == 0
    assert "got hello" in said


def test_exec_on_a_terminal(podman: Podman, running: Callable[..., str]) -> None:
    container = running()
    status, said = through_a_terminal(podman, "exec", "-t", container, "sh", "-c", "tty; exit 4")
    assert (status, said.split()) == (4, ["/dev/pts/0"])


@pytest.mark.skipif(CRUN, reason="crun registers nothing")
@pytest.mark.parametrize("allowed", [True, False])
def test_listed_by_machined(podman: Podman, allowed: bool) -> None:
    """Whoever configures podman lets annotations count, or not: those of images come the same way.

    Seen red with the annotation passed over, and with it let count always.
    """
    flag = ["--runtime-flag=machine-annotation"] if allowed else []
    options = ["--detach", "--network=none", "--pids-limit=0", "--annotation=org.pyoci.machine=by-podman"]
    command = ["podman", "--runtime", podman.runtime, *flag, "run", *options, podman.image, "sleep", "1000"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30 * SLOWER)
        assert (done.returncode == 0) == allowed, done
        assert machines() == (["by-podman"] if allowed else [])
        if allowed:
            assert shown("by-podman")["Unit"] == f"libpod-{done.stdout.strip()}.scope"
        else:
            assert "it must not be set by an annotation" in done.stderr
    finally:
        podman("rm", "--all", "--force", "--time=0")
    assert machines() == []

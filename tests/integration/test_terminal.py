"""`run -t` in the foreground, with a person at a real terminal: what the program sees, and what is left of theirs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Bundle

PATIENCE = 10.0


class Person:
    """Somebody at a terminal of 33 rows and 101 columns."""

    def __init__(self, runtime: str, bundle: Bundle, container_id: str) -> None:
        self.master, self.terminal = os.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("=HHHH", 33, 101, 0, 0))
        self.before = self.mode()
        self.seen = b""
        self.bundle = bundle
        self.is_crun = os.path.basename(runtime) == "crun"
        self.command = [runtime, "run", "--bundle", str(bundle.path), container_id]
        self.process: subprocess.Popen[bytes]

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.terminal)

    def run(self, script: str, **how: Any) -> None:
        """Have a container run a shell script on our terminal."""
        self.bundle.config["process"]["terminal"] = True
        self.bundle.sh(script)
        self.sit(**how)

    def sit(self, **how: Any) -> None:
        """Run the command on our terminal."""

        def control() -> None:
            os.setsid()
            fcntl.ioctl(self.terminal, termios.TIOCSCTTY, 0)

        streams = {"stdin": self.terminal, "stdout": self.terminal, "stderr": self.terminal}
        self.process = subprocess.Popen(self.command, **{"preexec_fn": control, **streams, **how})

    def look(self) -> bytes:
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536)
        return self.seen

    def see(self, text: bytes) -> None:
        wait(lambda: text in self.look(), lambda: f"{text!r} in {self.seen!r}")

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def status(self) -> int:
        """Wait for the end; return the exit status. The terminal must be as it was."""
        wait(lambda: self.look() is not None and self.process.poll() is not None, lambda: f"the end of {self.seen!r}")
        self.look()
        assert self.mode() == self.before
        # crun leaves our terminal, and with it our shell's, in non-blocking mode
        assert self.is_crun or not fcntl.fcntl(self.terminal, fcntl.F_GETFL) & os.O_NONBLOCK
        return self.process.returncode

    def leave(self) -> None:
        """End what still runs, and close the terminal."""
        with contextlib.suppress(AttributeError):
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.terminal)


def wait(condition: Callable[[], object], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:g} s for {what()}")
        time.sleep(0.005)


@pytest.fixture
def person(runtime: str, bundle: Bundle, container_id: str) -> Iterator[Person]:
    one = Person(runtime, bundle, container_id)
    try:
        yield one
    finally:
        one.leave()


def test_what_the_program_has(person: Person) -> None:
    """F132, F056b: a terminal of its own devpts on all three, its controlling one, as large as ours, from the start."""
    person.run(
        "stty size; tty; for fd in 0 1 2; do test -t $fd && echo $fd; done; echo ours >/dev/tty; "
        "test -c /dev/console && echo console; exit 42"
    )
    assert person.status() == 42
    if person.is_crun:
        pytest.skip("crun gives the terminal its size when the program may have asked for it already")
    lines = person.seen.decode().split("\r\n")
    assert lines.pop(1) in ("/dev/pts/0", "/dev/console")
    assert lines == ["33 101", "0", "1", "2", "ours", "console", ""]


def test_size_of_the_config_where_ours_has_none(person: Person) -> None:
    fcntl.ioctl(person.master, termios.TIOCSWINSZ, struct.pack("=HHHH", 0, 0, 0, 0))
    person.bundle.config["process"]["consoleSize"] = {"height": 7, "width": 77}
    person.run("stty size")
    assert person.status() == 0
    if person.is_crun:
        pytest.skip("crun takes 0 rows and 0 columns for the size")
    assert person.seen == b"7 77\r\n"


def test_size_follows_ours(person: Person) -> None:
    person.run('trap "stty size; exit 0" WINCH; echo ready; while :; do sleep 0.02; done')
    person.see(b"ready")
    fcntl.ioctl(person.master, termios.TIOCSWINSZ, struct.pack("=HHHH", 50, 132, 0, 0))
    assert person.status() == 0
    assert b"50 132" in person.seen


def test_ctrl_c(person: Person) -> None:
    person.run('trap "echo interrupted; exit 9" INT; echo ready; while :; do sleep 0.02; done')
    person.see(b"ready")
    person.type(b"\x03")
    assert person.status() == 9
    assert b"interrupted" in person.seen


def test_ctrl_z_is_for_the_shell_inside(person: Person) -> None:
    person.run("exec sh -i")
    person.type(b"sleep 60 && echo not stopped\r")
    time.sleep(0.3)  # it is no harm when the key comes before the program: then it stops nothing, and this waits
    person.see(b"sleep 60")
    person.type(b"\x1a")
    person.see(b"Stopped")
    person.type(b"kill -9 %1; exit 4\r")
    person.type(b"exit 4\r")
    assert person.status() == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_us_is_the_containers(person: Person, number: signal.Signals) -> None:
    person.run(f'trap "echo told; exit 5" {number.name[3:]}; echo ready; while :; do sleep 0.02; done')
    person.see(b"ready")
    assert not person.mode()[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    person.process.send_signal(number)
    assert person.status() == 5
    assert b"told" in person.seen


def test_all_that_is_said_is_seen(person: Person) -> None:
    person.run("seq 20000; exit 3")
    assert person.status() == 3
    if person.is_crun:
        pytest.skip("crun drops what a terminal that is slow to show does not take at once")
    assert person.seen.split() == [b"%d" % number for number in range(1, 20001)]


def test_a_program_that_is_killed(person: Person) -> None:
    person.run("echo ready; sleep 60 & wait")
    person.see(b"ready")
    inside = next(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == person.process.pid)
    os.kill(inside, signal.SIGKILL)
    assert person.status() == 137


def parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def test_a_program_that_cannot_be_run(person: Person) -> None:
    """Nothing of our terminal is touched for it, and what is wrong is told on it."""
    person.run("true", stdin=person.terminal)
    assert person.status() == 0
    person.bundle.args("/no/such/program")
    person.process = subprocess.Popen(
        person.command, stdin=person.terminal, stdout=person.terminal, stderr=person.terminal
    )
    assert person.status() not in (0, 126)
    assert b"/no/such/program" in person.seen


def test_input_that_ends(person: Person) -> None:
    """`… | run -t`: the end of a pipe is no key, so it is typed; crun wants a terminal."""
    if person.is_crun:
        pytest.skip("crun: `tcgetattr: Inappropriate ioctl for device`")
    person.run("cat; exit 6", stdin=subprocess.PIPE)
    assert person.process.stdin
    person.process.stdin.write(b"one\ntwo")
    person.process.stdin.close()
    assert person.status() == 6
    assert person.seen.count(b"one") == 2

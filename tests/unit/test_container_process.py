"""A process told from a later one of the same pid, whatever it calls itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pyoci_systemd import kernelfs
from pyoci_systemd.container import process

NAMES = ["a", ") R 1 1 1", "a) R (b", "(", ")", "  ", "a b", ")))", "1 2 3", "\\n", "a) Z 0 (x"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


@pytest.mark.parametrize("name", NAMES)
def test_name_does_not_confuse(name: str) -> None:
    """proc_pid_stat(5): the second field is any 15 bytes in brackets."""
    script = "import sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-ISc", script, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        letter, started = process.status(child.pid)
        assert letter in "RSD"
        # it has started after us, and not later than a moment ago
        assert process.start_time(os.getpid()) <= started
        uptime = float(kernelfs.read("/proc/uptime").split()[0])
        assert started <= uptime * os.sysconf("SC_CLK_TCK") + 1
        assert process.lives(child.pid, started)


@pytest.mark.parametrize("text", [
    "7 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n",
    "7 (a) R (b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n",
    "7 (x\n) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n",
])  # fmt: skip
def test_fields(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernelfs, "read", lambda _: text)
    assert process.status(7) == ("S", 4711)


@pytest.mark.parametrize("letter", ["Z", "X", "x"])
def test_dead(letter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernelfs, "read", lambda _: f"7 (x) {letter} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n")
    assert not process.lives(7, 4711)


def test_gone() -> None:
    assert process.status(2**22) == ("", 0)
    assert process.start_time(2**22) == 0
    for pid in (2**22, 0, -1):
        assert not process.lives(pid, 0)
        assert process.open_pidfd(pid, 0) == -1
        assert not process.send_signal(pid, 0, 0)
        assert process.wait_gone(pid, 0, 0)


def test_a_later_process_of_the_pid_is_never_touched(sleeper: subprocess.Popen[bytes]) -> None:
    started = process.start_time(sleeper.pid)
    for other in (started - 1, started + 1, 0):
        assert not process.lives(sleeper.pid, other)
        assert not process.send_signal(sleeper.pid, other, signal.SIGKILL)
        assert process.wait_gone(sleeper.pid, other, 0)
    assert process.lives(sleeper.pid, started)
    assert not process.wait_gone(sleeper.pid, started, 0.01)


def test_signal_and_wait(sleeper: subprocess.Popen[bytes]) -> None:
    started = process.start_time(sleeper.pid)
    before = set(os.listdir("/proc/self/fd"))
    assert process.send_signal(sleeper.pid, started, signal.SIGTERM)
    assert process.wait_gone(sleeper.pid, started, 5)
    assert not process.lives(sleeper.pid, started)  # a zombie
    assert sleeper.wait(5) == -signal.SIGTERM
    assert not process.send_signal(sleeper.pid, started, signal.SIGTERM)
    assert set(os.listdir("/proc/self/fd")) == before

"""How a container ended: from a zombie, from a pidfd, from a count, from what was written down; and never a guess."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci_systemd import kernelfs
from pyoci_systemd.cgroup.oom import Kills, reason
from pyoci_systemd.cgroup.watched import Watched
from pyoci_systemd.cgroupfile import File
from pyoci_systemd.container import ending, kernellog, laststeps, oomkill, pidinfo, process, store
from pyoci_systemd.container.state import describe
from pyoci_systemd.container.store import Container, Known
from pyoci_systemd.errors import Error

EVENTS = "low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {kills}\noom_group_kill 0\n"


@pytest.mark.parametrize(("status", "oom_killed", "how"), [
    (0, False, {"code": 0, "oom_killed": False}),
    (7 << 8, None, {"code": 7}),
    (255 << 8, None, {"code": 255}),
    (9, True, {"code": 137, "signal": 9, "oom_killed": True}),
    (11 | 0x80, None, {"code": 139, "signal": 11}),
    (None, True, {"oom_killed": True}),
    (None, None, {}),
])  # fmt: skip
def test_how(status: int | None, oom_killed: bool | None, how: dict[str, Any]) -> None:
    assert ending.how(status, oom_killed) == how


class Ended:
    """A shell that has ended and that nobody has collected."""

    def __init__(self, script: str) -> None:
        self.child = subprocess.Popen(["sh", "-c", script])
        self.started = process.start_time(self.child.pid)
        self.pidfd = os.pidfd_open(self.child.pid)
        assert process.ended(self.pidfd, 10)

    @property
    def pid(self) -> int:
        return self.child.pid


@pytest.fixture
def ended() -> Iterator[Ended]:
    one = Ended("exit 7")
    yield one
    one.child.wait()
    os.close(one.pidfd)


def test_zombie(ended: Ended) -> None:
    assert process.exit_status(ended.pid, ended.started) == 7 << 8
    assert process.exit_status(ended.pid, ended.started + 1) is None, "a later one of that pid"
    ended.child.wait()
    assert process.exit_status(ended.pid, ended.started) is None


def test_one_that_lives() -> None:
    assert process.exit_status(os.getpid(), process.start_time(os.getpid())) is None


@pytest.mark.parametrize(("letter", "threads"), [("S", 1), ("Z", 2)])
def test_one_that_has_not_ended_yet(letter: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first thread that has ended is a zombie as long as there are others: what it says is not the last word."""
    text = f"7 (x) {letter} {'0 ' * 16}{threads} 0 4711 {'0 ' * 29}9\n"
    monkeypatch.setattr(kernelfs, "read", lambda _: text)
    monkeypatch.setattr("posix.readlink", lambda _: "")
    assert process.exit_status(7, 4711) is None
    monkeypatch.setattr(kernelfs, "read", lambda _: text.replace(f"{letter} ", "Z ").replace("2 0 4711", "1 0 4711"))
    assert process.exit_status(7, 4711) == 9


def test_pidfd_of_a_collected_process(ended: Ended) -> None:
    assert pidinfo.exit_status(ended.pidfd) is None, "nobody has collected it"
    ended.child.wait()
    release = tuple(int(number) for number in os.uname().release.split(".")[:2])
    assert pidinfo.exit_status(ended.pidfd) == (7 << 8 if release >= (6, 15) else None)


# -- what is written down


@pytest.fixture
def container(tmp_path: pathlib.Path, ended: Ended, monkeypatch: pytest.MonkeyPatch) -> Container:
    monkeypatch.setattr(kernellog, "_victims", [])
    one = Container(str(tmp_path / "state"), "c1")
    one.claim()
    one.write(Known("c1", "/b", "/b/rootfs", "", "root", "systemd", boot_id=store.boot_id()))
    one.known.pid, one.known.start_time = ended.pid, ended.started
    one.write(one.known)
    one.unlock()
    return one


def again(container: Container) -> Container:
    return Container(container.root, container.id)


def test_state_of_a_zombie(container: Container, ended: Ended) -> None:
    assert describe(again(container))["exit"] == {"code": 7}
    ended.child.wait()
    assert "exit" not in describe(again(container)), "nobody knows any more"


def test_state_of_what_was_recorded(container: Container, ended: Ended) -> None:
    ended.child.wait()
    ending.record(container, {})
    assert not pathlib.Path(container.path, ending.EXIT).exists()
    ending.record(container, {"oom_killed": True})
    ending.record(container, {"code": 3, "oom_killed": False})
    assert describe(again(container))["exit"] == {"code": 3, "oom_killed": True}, "what is written stays"


def test_state_of_a_cgroup_that_still_counts(container: Container, ended: Ended, tmp_path: pathlib.Path) -> None:
    ended.child.wait()
    container.known.cgroup = str(tmp_path)
    container.write(container.known)
    assert "exit" not in describe(again(container))
    (tmp_path / "memory.events").write_text(EVENTS.format(oom=0, kills=0))
    assert describe(again(container))["exit"] == {"oom_killed": False}
    (tmp_path / "memory.events").write_text(EVENTS.format(oom=1, kills=1))
    assert describe(again(container))["exit"] == {"oom_killed": True}


def test_of_another_boot(container: Container, tmp_path: pathlib.Path) -> None:
    container.known.boot_id = "another"
    container.write(container.known)
    assert "exit" not in describe(again(container))
    ending.record(container, {"code": 0})
    assert describe(again(container))["exit"] == {"code": 0}


def test_nothing_is_written_for_a_container_that_has_gone(container: Container) -> None:
    assert container.known.pid
    again(container).remove()
    ending.record(container, {"code": 0})
    assert not pathlib.Path(container.path).exists()


def test_nothing_is_written_for_its_successor(container: Container) -> None:
    successor = again(container)
    successor.write(Known("c1", "/b", "/b/rootfs", "", "root", "systemd", boot_id=store.boot_id(), pid=1))
    ending.record(container, {"code": 0})
    assert not pathlib.Path(container.path, ending.EXIT).exists()


# -- kills


def test_kills(tmp_path: pathlib.Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text(EVENTS.format(oom=1, kills=2))
    kills = Kills(str(tmp_path))
    assert (kills.look(), kills.count, kills.any()) == (0, 2, True), "those before us are no news"
    events.write_text(EVENTS.format(oom=2, kills=5))
    assert (kills.look(), kills.look(), kills.any()) == (3, 0, True)


def test_no_kills(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = Kills(str(tmp_path))
    assert (without.fd, without.look(), without.any()) == (-1, 0, None)
    (tmp_path / "memory.events").write_text(EVENTS.format(oom=0, kills=0))
    kills = Kills(str(tmp_path))
    assert (kills.look(), kills.any()) == (0, False)
    monkeypatch.setattr(Watched, "text", lambda watched: watched.close() or "")
    assert (kills.look(), kills.any()) == (0, None), "the cgroup went before the last look"


@pytest.mark.parametrize(("oom", "kills", "here", "limit", "said"), [
    (0, 0, 0, "4096", ""),
    (1, 0, 1, "4096", ""),
    (1, 1, 1, "4096", "out of memory, the limit of 4096 bytes is too low"),
    (0, 1, 0, "4096", "out of memory"),  # the machine's, or a slice's
    (1, 1, 0, "4096", "out of memory"),  # that of a cgroup below
    (1, 1, 1, "max", "out of memory"),
])  # fmt: skip
def test_reason(oom: int, kills: int, here: int, limit: str, said: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "memory.events").write_text(EVENTS.format(oom=oom, kills=kills))
    (tmp_path / "memory.events.local").write_text(EVENTS.format(oom=here, kills=0))
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    assert reason(str(tmp_path)) == said
    assert reason(f"{tmp_path}/gone") == ""


SAID = "the container's init was killed: out of memory, the limit of 4096 bytes is too low"


@pytest.mark.parametrize(("script", "counted", "said"), [
    ("kill -9 $$", "out of memory, the limit of 4096 bytes is too low", SAID),
    ("kill -9 $$", "", "it failed"),
    ("exit 1", "out of memory, the limit of 4096 bytes is too low", "it failed"),
])  # fmt: skip
def test_blamed(script: str, counted: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyoci_systemd.cgroup.oom.reason", lambda cgroup: counted)
    monkeypatch.setattr(kernellog, "_victims", [])
    monkeypatch.setattr("pyoci_systemd.cgroup.tree.of_process", lambda pid: "/sys/fs/cgroup")
    one = Ended(script)
    failed, stopped = Error("it failed"), KeyboardInterrupt()
    assert str(oomkill.blamed(failed, one.pid)) == said
    assert oomkill.blamed(stopped, one.pid) is stopped
    one.child.wait()
    os.close(one.pidfd)
    assert oomkill.blamed(failed, 0) is failed
    assert oomkill.blamed(failed, one.pid) is failed
    monkeypatch.setattr(kernellog, "_victims", [(one.pid, 2.0**40, "Out of memory")])
    blamed = oomkill.blamed(failed, one.pid, one.started)
    assert str(blamed) == "the container's init was killed: out of memory", "collected, and not by us"


def test_an_init_that_never_became_its_program() -> None:
    """It closes its channel as one that did: what tells them apart is the name of the zombie."""
    name = "import sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print(flush=True); sys.stdin.read()"
    for comm, dead in ((process.INIT, True), ("sh", False)):
        command = ["/usr/bin/python3", "-ISc", name, comm]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout
            child.stdout.readline()
            assert not laststeps.died(child.pid)
            child.send_signal(signal.SIGKILL)
            assert process.wait_gone(child.pid, process.start_time(child.pid), 10)
            assert laststeps.died(child.pid) == dead
    assert not laststeps.died(2**22)


# -- the kernel's log

LOG = {
    "3,1201,5000000,-;Memory cgroup out of memory: Killed process 812 (dd) total-vm:4kB, anon-rss:0kB, UID:0\n SUBSYSTEM=x\n": (
        812, 5.0, "Memory cgroup out of memory",
    ),
    "3,7,1,-,caller=T1;Out of memory: Killed process 9 (a: Killed process 8 (b) total-vm:1kB\n": (9, 1e-6, "Out of memory"),
    # of somebody who writes to the log, and words that a process chose
    "11,7,1,-;Memory cgroup out of memory: Killed process 812 (dd)\n": (0, 0.0, ""),
    "4,7,1,-;x: y: Killed process 812 (dd)\n": (0, 0.0, ""),
    "4,7,1,-;x: Killed process 8x12 (dd)\n": (0, 0.0, ""),
    "6,7,1,-;eth0: link up\n": (0, 0.0, ""),
    "": (0, 0.0, ""),
}  # fmt: skip


def test_log() -> None:
    assert {record: kernellog.victim(record) for record in LOG} == LOG


LIMITS = [File("pids.max", "7", "pids"), File("memory.max", "4096", "memory.limit")]


def test_log_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernellog, "_victims", [(812, 1000.0, "Out of memory"), (7, 5000.0, kernellog.OF_A_CGROUP)])
    ticks = os.sysconf("SC_CLK_TCK")
    assert kernellog.killed(812, 1000 * ticks) == "Out of memory"
    assert kernellog.killed(812, 2000 * ticks) == "", "an earlier one of that pid"
    assert kernellog.killed(8, 0) == ""
    assert oomkill.reason("/gone", 7, 5000 * ticks, LIMITS) == "out of memory, the limit of 4096 bytes is too low"
    assert oomkill.reason("/gone", 7, 5000 * ticks, ()) == oomkill.reason("/gone", 812, 1, LIMITS) == "out of memory"
    assert oomkill.reason("/gone", 8, 0, LIMITS) == ""


def test_state_of_one_that_the_log_tells_of(
    container: Container, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended.child.wait()
    monkeypatch.setattr(kernellog, "_victims", [(ended.pid, 2.0**40, kernellog.OF_A_CGROUP)])
    assert describe(again(container))["exit"] == {"oom_killed": True}
    assert ending.record(container, {"code": 137}) == {"code": 137, "oom_killed": True}


def test_log_that_is_closed_to_us(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(kernellog, "KMSG", str(tmp_path / "kmsg"))
    assert kernellog.records() == []

"""Who belongs to a container: `ps`, `kill --all`, and exec where its cgroup is divided."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container
from tests.integration.exec_scene import alive, cgroup, freeze, members, one_line, settled
from tests.integration.needs import needs

ours = pytest.mark.skipif(CRUN, reason="crun does otherwise")
Wait = Callable[..., Any]


def up(container: Container, script: str, *options: str) -> int:
    """Run a script in it; return the pid."""
    container.bundle.sh(script)
    container.run(*options, "run", "--detach", "--bundle", container.bundle.path, container.name, check=True)
    return int(container.state()["pid"])


def everybody(pid: int) -> set[int]:
    return {*members(cgroup(pid))}


# -- ps


def listed(container: Container) -> set[int]:
    return {*json.loads(container.run("ps", "--format=json", container.name, check=True).stdout)}


@ours  # crun 1.21 reads the first page, too
def test_more_than_a_page_of_processes(container: Container, wait_until: Wait) -> None:
    """The kernel hands out 4096 bytes of cgroup.procs at a time: some 700 processes."""
    pid = up(container, "n=0; while [ $n -lt 1500 ]; do sleep 1000 & n=$((n+1)); done; wait; exec sleep 1000")
    wait_until(lambda: len(everybody(pid)) == 1501, "1500 children", seconds=20)
    assert listed(container) == everybody(pid)
    container.run("kill", "--all", container.name, "TERM", check=True)
    # all but the first, which has no handler for it: signal(7) of pid_namespaces(7)
    wait_until(lambda: len(everybody(pid)) == 1, "the end of the children", seconds=10)
    container.delete()


def test_processes_of_all_cgroups_below(container: Container, wait_until: Wait) -> None:
    pid = up(container, "sleep 1000 & sleep 1000 & wait")
    wait_until(lambda: len(everybody(pid)) == 3, "two children")
    below = cgroup(pid) / "a/b"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(str(max(everybody(pid))))
    if not CRUN:  # 1.21 does not look below
        assert listed(container) == everybody(pid)
        assert len(listed(container)) == 3
    container.delete()


@ours
@pytest.mark.parametrize(("words", "titles"), [
    (["-ef"], "UID PID PPID C STIME TTY TIME CMD"),
    (["-eo", "pid,args"], "PID COMMAND"),
    (["aux"], "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
    (["-e", "-o", "ppid,pid,comm"], "PPID PID COMMAND"),
])  # fmt: skip
def test_options_of_ps(container: Container, wait_until: Wait, words: list[str], titles: str) -> None:  # R10
    pid = up(container, "sleep 1000 & wait")
    wait_until(lambda: len(everybody(pid)) == 2, "a child")
    header, *lines = container.run("ps", container.name, *words, check=True).stdout.splitlines()
    column = titles.split().index("PID")
    assert header.split() == titles.split()
    assert {int(line.split()[column]) for line in lines} == everybody(pid)
    assert any("sleep" in line for line in lines)
    container.delete()


@ours
def test_options_that_show_no_processes(container: Container) -> None:
    up(container, "exec sleep 1000")
    one_line(container.run("ps", container.name, "-eo", "args"), "no column `PID`")
    one_line(container.run("ps", container.name, "--no-such-option"), "ps: ")
    both = container.run("ps", "--format=json", container.name, "-ef")
    assert (both.returncode, both.stdout) == (2, "")
    crun_order = container.run("ps", container.name, "-f", "json", check=True).stdout
    assert {*json.loads(crun_order)} == listed(container)
    container.delete()


# -- kill --all

# chains: each process lives only until its child does; who reads who is there, and then signals, meets few of the last
CHAINS = "f() { ( f ) & exit 0; }; for n in 1 2 3 4 5 6 7 8 9 10 11 12; do ( f ) & done; while :; do sleep 1; done"


def test_a_signal_to_all(container: Container, wait_until: Wait) -> None:
    script = "trap 'echo got >>/got' USR1; (trap 'echo got >>/got' USR1; while :; do sleep 0.1; done) & "
    container.config["root"]["readonly"] = False
    pid = up(container, script + "while :; do sleep 0.1; done")
    wait_until(lambda: len(everybody(pid)) >= 2, "a child")
    time.sleep(0.2)  # for both to set their traps: nothing shows that from outside
    container.run("kill", "--all", container.name, "USR1", check=True)
    got = container.bundle.rootfs / "got"
    wait_until(lambda: got.exists() and got.read_text() == "got\n" * 2, "both")
    assert container.state()["status"] == "running"
    container.delete()


def test_one_that_forks_and_forks(container: Container, wait_until: Wait) -> None:
    """Frozen, none gets away; and the container runs on afterwards."""
    pid = up(container, CHAINS)
    wait_until(lambda: len(everybody(pid)) >= 8, "the chains")
    container.run("kill", "--all", container.name, "KILL" if CRUN else "STOP", check=True)
    if not CRUN:

        def stopped() -> bool:
            states = [
                pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0] for one in everybody(pid)
            ]
            return set(states) <= {"T", "Z"}

        wait_until(stopped, "all to stop")
        before = everybody(pid)
        assert not settled(lambda: everybody(pid) - before != set(), 0.3)
        assert (cgroup(pid) / "cgroup.freeze").read_text() == "0\n"
    container.delete()


@pytest.mark.parametrize("how", ["pause", "own cgroup"])
def test_a_signal_to_all_of_a_paused_container(container: Container, wait_until: Wait, how: str) -> None:
    """It stays paused, and finds the signal when it is resumed."""
    pid = up(container, "trap 'exit 3' TERM; while :; do sleep 0.1; done")
    time.sleep(0.2)
    where = cgroup(pid)
    container.run("pause", container.name, check=True) if how == "pause" else freeze(where, True)
    container.run("kill", "--all", container.name, "TERM", check=True)
    if not CRUN:  # which resumes it
        assert container.state()["status"] == "paused"
        assert "frozen 1" in (where / "cgroup.events").read_text()
        container.run("resume", container.name, check=True)
    wait_until(lambda: not alive(pid), "its end")
    container.delete()


@pytest.mark.parametrize("how", ["pause", "own cgroup"])
def test_all_of_a_paused_container_are_killed(container: Container, wait_until: Wait, how: str) -> None:
    """At once: nobody has to be resumed for it. Red with the signal left out."""
    pid = up(container, "sleep 1000 & exec sleep 1000")
    where = cgroup(pid)
    everybody = [*members(where)]
    container.run("pause", container.name, check=True) if how == "pause" else freeze(where, True)
    container.run("kill", "--all", container.name, "KILL", check=True)
    wait_until(lambda: not any(alive(one) for one in everybody), "their end")
    container.delete()


@ours
def test_a_signal_to_all_waits_for_whoever_pauses(container: Container, wait_until: Wait) -> None:
    """Whoever has the lock would take the freezing of ours for its own; red with one look at it. But not for ever."""
    pid = up(container, "trap 'exit 3' TERM; while :; do sleep 0.1; done")
    busy = os.open(f"/run/pyoci/{container.name}", os.O_RDONLY)
    fcntl.flock(busy, fcntl.LOCK_EX)
    with subprocess.Popen(["pyoci", "kill", "--all", container.name, "CONT"]) as kill:
        with pytest.raises(subprocess.TimeoutExpired):
            kill.wait(0.5)
        assert kill.wait(10) == 0, "a hook of `start` may send it"
    os.close(busy)
    container.run("kill", "--all", container.name, "TERM", check=True)
    wait_until(lambda: not alive(pid), "its end")
    container.delete()


@ours  # crun freezes itself as well, and all is over
def test_who_kills_all_from_inside_is_not_frozen_with_them(container: Container, runtime: str) -> None:
    pid = up(container, "exec sleep 1000")
    script = f"echo $$ >{cgroup(pid)}/cgroup.procs && exec {runtime} kill --all {container.name} CONT"
    subprocess.run(["sh", "-c", script], check=True, timeout=10)
    assert container.state()["status"] == "running"
    container.delete()


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs", "disabled"])
def test_all_of_a_container_that_has_stopped(container: Container, wait_until: Wait, manager: str) -> None:
    pid = up(container, "exit 0", f"--cgroup-manager={manager}")
    wait_until(lambda: not alive(pid), "its end")
    wait_until(lambda: container.state()["status"] == "stopped", "the status")
    done = container.run("kill", "--all", container.name, "TERM")
    if not CRUN:
        one_line(done, "container not running")
    container.delete()


# -- without a cgroup


def test_disabled(container: Container, wait_until: Wait) -> None:
    """No cgroup, and all else as ever."""
    container.config["linux"].pop("resources", None)
    pid = up(container, "sleep 1000 & sleep 1000 & exec sleep 1000", "--cgroup-manager=disabled")
    assert cgroup(pid) == cgroup(int(pathlib.Path("/proc/self").readlink().name))
    assert container.state()["status"] == "running"
    assert container.run("exec", container.name, "echo", "hello", check=True).stdout == "hello\n"
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 2, "two children")
    pids = {pid, *map(int, children.read_text().split())}
    if not CRUN:
        nested = ["exec", "--cap", "CAP_SYS_ADMIN", "--detach", container.name, "unshare", "-p", "-f", "sleep", "1000"]
        container.run(*nested, check=True)
        wait_until(lambda: len(listed(container)) == 5, "another pid namespace inside, and who made it")
        assert listed(container) > pids
        container.run("kill", "--all", container.name, "TERM", check=True)
        # in a pid namespace the first takes none that it does not handle
        wait_until(lambda: not any(alive(one) for one in pids - {pid}), "the end of the children")
        container.run("kill", "--all", container.name, "KILL", check=True)  # crun's says that it did
        wait_until(lambda: not alive(pid), "its end")
    container.delete()


@ours
def test_disabled_and_in_the_pid_namespace_of_the_host(container: Container) -> None:
    """Nothing tells its processes from others': they are not signalled with them."""
    container.config["linux"].pop("resources", None)
    spaces = container.config["linux"]["namespaces"]
    container.config["linux"]["namespaces"] = [entry for entry in spaces if entry["type"] != "pid"]
    up(container, "exec sleep 1000", "--cgroup-manager=disabled")
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        for words in (["kill", "--all", container.name, "KILL"], ["ps", container.name]):
            one_line(container.run(*words), "neither a cgroup nor a pid namespace of its own")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    container.run("kill", container.name, "KILL", check=True)
    container.delete()


@ours
def test_disabled_takes_no_limits(container: Container) -> None:
    container.config["linux"]["resources"] = {"pids": {"limit": 5}}
    container.bundle.write()
    done = container.run("--cgroup-manager=disabled", "create", "--bundle", container.bundle.path, container.name)
    one_line(done, "cannot set limits without cgroups")


# -- exec


@needs("pids controller")
def test_exec_where_the_cgroup_is_divided(container: Container, wait_until: Wait) -> None:  # F056a
    """The container's own cgroup takes no process any more: it has handed its controllers down."""
    pid = up(container, "exec sleep 1000")
    own = cgroup(pid)
    (own / "init").mkdir()
    (own / "init/cgroup.procs").write_text(str(pid))
    (own / "cgroup.subtree_control").write_text("+memory +pids")
    said = container.run("exec", container.name, "cat", "/proc/self/cgroup", check=True).stdout
    assert said.splitlines()[-1].endswith("/init")
    if not CRUN:
        one_line(container.run("exec", "--cgroup", "/", container.name, "true"), "--cgroup", "takes no process")
    container.delete()


@ours  # crun's exec follows it
@needs("pids controller")
def test_exec_stays_in_the_container_s_cgroup(container: Container, wait_until: Wait) -> None:
    """Also when its first process has left that, and nothing there takes another."""
    pid = up(container, "sleep 1000 & exec sleep 1000")
    wait_until(lambda: len(everybody(pid)) == 2, "a child")
    own = cgroup(pid)
    (own / "below").mkdir()
    outside = own.parent.parent / "pyoci-outside"
    outside.mkdir()
    try:
        # somebody has to stay, or systemd takes the scope away
        (own / "below/cgroup.procs").write_text(str(max(everybody(pid) - {pid})))
        (outside / "cgroup.procs").write_text(str(pid))
        (own / "cgroup.subtree_control").write_text("+pids")
        for _ in range(2):
            pid_file = container.bundle.path / "pid"
            container.run("exec", "--detach", "--pid-file", pid_file, container.name, "sleep", "1000", check=True)
            assert cgroup(int(pid_file.read_text())) == own / "pyoci-exec"
    finally:
        container.delete()
        wait_until(lambda: not alive(pid), "its end")
        outside.rmdir()
    wait_until(lambda: not own.exists(), "the end of its cgroup")


def test_signal_names_are_all_understood(container: Container) -> None:
    up(container, "exec sleep 1000")
    for word in ("CONT", "SIGURG", str(signal.SIGWINCH.value)):
        container.run("kill", "--all", container.name, word, check=True)
    assert container.state()["status"] == "running"
    container.delete()

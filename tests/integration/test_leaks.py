"""The leak checker sees what it is there to see: each kind is leaked, seen as exactly that, and seen to be gone."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.integration import leaks

BRIEFLY = 0.3
Leak = Callable[[pathlib.Path], AbstractContextManager[set[str]]]


@contextlib.contextmanager
def a_scope(_: pathlib.Path) -> Iterator[set[str]]:
    scope = ["systemd-run", "--quiet", "--scope", "--unit=leak-test", "sleep", "1000"]
    with subprocess.Popen(scope, start_new_session=True) as process:
        while not (leaks.CGROUPS / "system.slice/leak-test.scope/cgroup.procs").exists():
            assert process.poll() is None
        yield {"+ unit: leak-test.scope active", "+ cgroup: /system.slice/leak-test.scope", "+ process:"}
        process.kill()


@contextlib.contextmanager
def a_machine(_: pathlib.Path) -> Iterator[set[str]]:
    manager = ["org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"]
    values = ["leak-test", "0", "test", "container", str(os.getpid()), "/"]
    subprocess.run(["busctl", "call", *manager, "RegisterMachine", "sayssus", *values], check=True, timeout=20)
    yield {"+ machine: /run/systemd/machines/leak-test"}
    subprocess.run(["busctl", "call", *manager, "UnregisterMachine", "s", "leak-test"], check=True, timeout=20)


@contextlib.contextmanager
def a_failed_unit(_: pathlib.Path) -> Iterator[set[str]]:
    subprocess.run(["systemd-run", "--quiet", "--wait", "--unit=leak-test", "false"], check=False)
    yield {"+ unit: leak-test.service failed"}
    subprocess.run(["systemctl", "reset-failed", "leak-test.service"], check=True)


@contextlib.contextmanager
def a_cgroup(_: pathlib.Path) -> Iterator[set[str]]:
    (leaks.CGROUPS / "leak-test").mkdir()
    yield {"+ cgroup: /leak-test"}
    (leaks.CGROUPS / "leak-test").rmdir()


@contextlib.contextmanager
def a_mount(directory: pathlib.Path) -> Iterator[set[str]]:
    subprocess.run(["mount", "-t", "tmpfs", "leak-test", directory], check=True)
    yield {f"+ mount: {directory} tmpfs of leak-test/"}
    subprocess.run(["umount", directory], check=True)


@contextlib.contextmanager
def a_mount_namespace(directory: pathlib.Path) -> Iterator[set[str]]:
    script = f"mount -t tmpfs leak-test {directory} && touch {directory}/there && echo && exec sleep 1000"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"\n"
        yield {f"+ mount: {directory} tmpfs of leak-test/", "+ process:", "+ fd: pipe", "+ mount:"}
        process.kill()


@contextlib.contextmanager
def a_process(_: pathlib.Path) -> Iterator[set[str]]:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield {f"+ process: {process.pid} sleep 1000"}
        process.kill()


@contextlib.contextmanager
def a_zombie(_: pathlib.Path) -> Iterator[set[str]]:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield {f"+ process: {process.pid} [true]"}
    process.wait()


@contextlib.contextmanager
def a_descriptor(directory: pathlib.Path) -> Iterator[set[str]]:
    descriptor = os.open(directory, os.O_RDONLY)
    yield {f"+ fd: {directory}"}
    os.close(descriptor)


@contextlib.contextmanager
def a_terminal(_: pathlib.Path) -> Iterator[set[str]]:
    master, slave = os.openpty()
    yield {"+ pty: /dev/pts/", "+ fd: /dev/pts/"}
    os.close(master)
    os.close(slave)


def a_file(path: str, kind: str) -> Leak:
    @contextlib.contextmanager
    def leak(_: pathlib.Path) -> Iterator[set[str]]:
        made = pathlib.Path(path)
        parent_is_new = not made.parent.exists()
        made.parent.mkdir(exist_ok=True)
        made.touch()
        yield {f"+ {kind}: {path}"}
        made.unlink()
        if parent_is_new:
            made.parent.rmdir()

    return leak


LEAKS: dict[str, Leak] = {
    "scope": a_scope,
    "failed unit": a_failed_unit,
    "cgroup": a_cgroup,
    "mount": a_mount,
    "mount namespace": a_mount_namespace,
    "process": a_process,
    "zombie": a_zombie,
    "descriptor": a_descriptor,
    "terminal": a_terminal,
    "state of pyoci": a_file("/run/pyoci/leak-test", "state"),
    "state of crun": a_file("/run/crun/leak-test", "state"),
    "shared memory": a_file("/dev/shm/leak-test", "shm"),
    "machine": a_machine,
    "network namespace": a_file("/run/netns/leak-test", "netns"),
    "temporary file": a_file("/tmp/leak-test", "tmp"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_seen_as_what_it_is(name: str, tmp_path: pathlib.Path) -> None:
    before = leaks.snapshot()
    with LEAKS[name](tmp_path) as expected:
        seen = leaks.leaked(before, BRIEFLY)
        for start in expected:
            assert any(line.startswith(start) for line in seen), (start, seen)
        for line in seen:
            assert any(line.startswith(start) for start in expected), (line, seen)
    assert leaks.leaked(before) == []


def test_what_went_away_is_seen_too(tmp_path: pathlib.Path) -> None:
    with a_mount(tmp_path):
        before = leaks.snapshot()
    [line] = leaks.leaked(before, BRIEFLY)
    assert line.startswith(f"- mount: {tmp_path} tmpfs of leak-test/")


def test_a_quiet_machine_has_no_leaks() -> None:
    assert leaks.leaked(leaks.snapshot(), 0) == []

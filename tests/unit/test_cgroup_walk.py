"""Cgroups below cgroups: who lives there, and how they go. On directories that only look like them."""

from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from pyoci_systemd import kernelfs
from pyoci_systemd.cgroup import tree, walk
from pyoci_systemd.errors import Error
from tests.unit.test_cgroup_tree import cgroup, root, soon

__all__ = ["root"]  # a fixture


def test_remove_takes_all_below_and_tells_what_it_cannot(root: str) -> None:
    os.makedirs(f"{root}/a/b/c")
    os.makedirs(f"{root}/a/d")
    walk.remove(f"{root}/a", soon())
    walk.remove(f"{root}/a", soon())  # another one was faster
    assert os.listdir(root) == []
    cgroup(f"{root}/a", file="")
    with pytest.raises(Error, match="cannot remove the cgroup `.*/a`: Directory not empty"):
        walk.remove(f"{root}/a", soon())


def test_remove_waits_for_a_cgroup_that_is_busy_for_a_moment(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir(f"{root}/a")
    rmdir, left = os.rmdir, [3]

    def busy(path: str, dir_fd: int) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EBUSY, "busy")
        rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr("posix.rmdir", busy)
    walk.remove(f"{root}/a", time.monotonic() + 5)
    assert os.listdir(root) == []
    os.mkdir(f"{root}/a")
    left[0] = 1 << 30
    with pytest.raises(Error, match="Device or resource busy"):
        walk.remove(f"{root}/a", soon())


@pytest.fixture
def cleared(root: str) -> Iterator[str]:
    """Return a directory that is cleared even of what shutil, and pytest with it, finds no end of."""
    yield root
    subprocess.run(["rm", "-rf", root], check=True, timeout=60)


def test_deeper_than_a_path_is_long(cleared: str) -> None:
    """And than Python calls: 1100 levels of 100 characters, with others beside them."""
    fd = os.open(cleared, os.O_RDONLY)
    for level in range(1100):
        for name in ("x" * 100, "beside"):
            os.mkdir(name, dir_fd=fd)
        below = os.open("x" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        procs = os.open("cgroup.procs", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
        os.write(procs, f"{level}\n".encode())
        os.close(procs)
        os.unlink("cgroup.procs", dir_fd=fd) if level < 1099 else None
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    assert list(tree.processes(f"{cleared}/{'x' * 100}")) == [1099]
    assert len(list(walk.walk(cleared))) == 2201
    with pytest.raises(Error, match="cannot remove the cgroup `.*`: Directory not empty"):
        walk.remove(f"{cleared}/{'x' * 100}", soon())
    # the last, which is no empty cgroup, and those on the way to it; the others, if they were not met before it
    assert 1102 <= len(list(walk.walk(cleared))) <= 2201
    for each in walk.walk(cleared):
        pathlib.Path(each, "cgroup.procs").unlink(missing_ok=True)
    walk.remove(f"{cleared}/{'x' * 100}", soon())
    assert sorted(os.listdir(cleared)) == ["beside"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_remove_follows_no_link(root: str) -> None:
    os.makedirs(f"{root}/outside/kept")
    os.mkdir(f"{root}/a")
    os.symlink(f"{root}/outside", f"{root}/a/link")
    with pytest.raises(Error):
        walk.remove(f"{root}/a", soon())
    assert os.listdir(f"{root}/outside") == ["kept"]


def test_processes_of_a_cgroup_and_all_below(root: str) -> None:
    cgroup(f"{root}/a", cgroup__procs="1\n20\n")
    cgroup(f"{root}/a/b/c", cgroup__procs="300\n")
    cgroup(f"{root}/a/b", cgroup__procs="")
    assert sorted(tree.processes(f"{root}/a")) == [1, 20, 300]
    assert list(tree.processes(f"{root}/gone")) == []


def test_processes_of_a_threaded_cgroup(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose cgroup.procs cannot be read: the threads say whose they are; one has gone."""
    path = cgroup(f"{root}/a", cgroup__threads=f"{os.getpid()}\n{threading.get_native_id()}\n4194304\n")

    def refuse(name: str) -> str:
        if name.endswith("cgroup.procs"):
            raise OSError(errno.EOPNOTSUPP, "threaded")
        return kernelfs.whole(name)

    monkeypatch.setattr(tree, "whole", refuse)
    assert list(tree.processes(path)) == [os.getpid()]

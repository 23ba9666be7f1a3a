"""What the runtime remembers: claimed by one, written whole, read with care, removed to the last file."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci_systemd import jsonio
from pyoci_systemd.container import lock, process, store
from pyoci_systemd.container.list import gather
from pyoci_systemd.container.state import describe
from pyoci_systemd.container.store import Container, Known
from pyoci_systemd.errors import Error, NotFound

NEVER = 2**40  # a start time that no process has


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "state")


@pytest.fixture
def container(root: str) -> Iterator[Container]:
    one = Container(root, "c1")
    one.claim()
    yield one
    one.unlock()


def known(**changes: Any) -> Known:
    values: dict[str, Any] = {
        "id": "c1", "bundle": "/b", "rootfs": "/b/rootfs", "created": "2026-01-01T00:00:00.000000Z", "owner": "root",
        "manager": "systemd", "unit": "pyoci-c1.scope", "boot_id": store.boot_id(), "annotations": {"a": "b"},
    }  # fmt: skip
    return Known(**{**values, **changes})


def ourselves() -> dict[str, int]:
    return {"pid": os.getpid(), "start_time": process.start_time(os.getpid())}


# -- the claim


def test_claim_makes_directories_for_us_alone(root: str) -> None:
    old = os.umask(0)
    try:
        Container(root + "/deep/er", "c1").claim()
    finally:
        os.umask(old)
    for path in ("", "/deep", "/deep/er", "/deep/er/c1"):
        assert os.stat(root + path).st_mode & 0o777 == 0o700, path


def test_claimed_once(container: Container, root: str) -> None:
    with pytest.raises(Error) as caught:
        Container(root, "c1").claim()
    assert caught.value.message == "container `c1` already exists"
    Container(root, "c2").claim()


def claim(root: str, name: str, barrier: Any, results: Any) -> None:
    barrier.wait(10)
    try:
        Container(root, name).claim()
        results.put(True)
    except Error as error:
        results.put(error.message)


def test_one_of_many_wins(root: str) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(3):
        barrier, results = context.Barrier(6), context.Queue()
        workers = [context.Process(target=claim, args=(root, f"c{attempt}", barrier, results)) for _ in range(6)]
        for worker in workers:
            worker.start()
        said = [results.get(timeout=10) for _ in workers]
        for worker in workers:
            worker.join(10)
        assert said.count(True) == 1
        assert [text for text in said if text is not True] == [f"container `c{attempt}` already exists"] * 5


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722, 0o702])
def test_state_root_that_others_write_to(mode: int, root: str) -> None:  # CVE-2019-12439
    os.mkdir(root)
    os.chmod(root, mode)
    with pytest.raises(Error) as caught:
        Container(root, "c1").claim()
    assert caught.value.message == f"the state root `{root}` can be written by others"
    assert os.listdir(root) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
@pytest.mark.parametrize("mode", [0o700, 0o1777])
def test_state_root_of_someone_else(mode: int, root: str) -> None:
    os.mkdir(root)
    os.chmod(root, mode)
    os.chown(root, 65534, 65534)
    with pytest.raises(Error):
        Container(root, "c1").claim()


WAYS = {
    "above": ("evil/root", "evil"),
    "far above": ("evil/new/root", "evil"),
    "by a link of ours": ("link/root", "evil"),
    "by a link of theirs": ("sticky/link/root", "sticky/link"),
    "by links of both": ("both", "evil"),
    "by a step up": ("own/../evil/root", "evil"),
    "round in a circle": ("circle/root", ""),
    "sticky": ("sticky/root", ""),
    "new": ("own/new/root", ""),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
@pytest.mark.parametrize(("path", "theirs"), WAYS.values(), ids=WAYS)
def test_way_to_the_state_root(path: str, theirs: str, tmp_path: pathlib.Path) -> None:
    """Who may rename a directory on the way could have our files written elsewhere."""
    for name in ("evil", "own", "sticky"):
        (tmp_path / name).mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    (tmp_path / "link").symlink_to("evil")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "sticky/link").symlink_to(tmp_path / "own")
    os.chown(tmp_path / "sticky/link", 65534, 65534, follow_symlinks=False)
    (tmp_path / "evil/back").symlink_to("../own")
    (tmp_path / "both").symlink_to("evil/back")
    os.chown(tmp_path / "evil", 65534, 65534)
    root = f"{tmp_path}/{path}"
    if theirs or path.startswith("circle"):
        with pytest.raises(Error) as caught:
            Container(root, "c1").claim()
        assert f"by way of `{tmp_path}/{theirs}`" in caught.value.message or not theirs
    else:
        Container(root, "c1").claim()
    assert sorted(path.name for path in (tmp_path / "evil").iterdir()) == ["back"]


def test_state_root_that_is_a_file(root: str) -> None:
    pathlib.Path(root).write_text("")
    with pytest.raises(Error):
        Container(root, "c1").claim()


# -- the lock


def test_lock_is_one_s_alone(container: Container) -> None:
    assert lock.take(container.path) == lock.BUSY
    assert lock.take(container.path, shared=True) == lock.BUSY
    container.unlock()
    mine = lock.take(container.path)
    assert mine >= 0
    assert fcntl.fcntl(mine, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    os.close(mine)


def test_lock_waits_for_a_while(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_DEADLINE", 0.05)
    with pytest.raises(Error, match=r"^container `c1` is busy"):
        Container(container.root, "c1").lock()


def test_lock_of_nothing(root: str) -> None:
    assert lock.take(root) == lock.GONE
    with pytest.raises(NotFound):
        Container(root, "c1").lock()


def test_lock_of_a_directory_made_anew_is_another_one(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted between the open and the flock: what was locked is no longer what the path names."""
    container.unlock()
    flock = fcntl.flock

    def deleted_first(fd: int, kind: int) -> None:
        os.rmdir(container.path)
        os.mkdir(container.path)
        flock(fd, kind)

    monkeypatch.setattr(lock, "flock", deleted_first)
    assert lock.take(container.path) == lock.BUSY


# -- what is written


def test_written_and_read_again(container: Container, root: str) -> None:
    state = known(pid=42, start_time=4711, cgroup="/sys/fs/cgroup/x", last_steps=[[3, "execute `x`"]], bundle="/ü")
    container.write(state)
    assert Container(root, "c1").known == state
    assert os.listdir(container.path) == ["state.json"]
    assert os.stat(f"{container.path}/state.json").st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "1", '"x"', '{"id": "c1"}', '{"unheard": 1}', "\xff", '{"id": "c1", "id": "c1"}']
)
def test_damaged_state(text: str, container: Container, root: str) -> None:
    pathlib.Path(container.path, "state.json").write_text(text, encoding="latin-1")
    with pytest.raises(Error) as caught:
        Container(root, "c1").status()
    assert not isinstance(caught.value, NotFound)
    assert "state.json" in caught.value.message
    assert list(gather(root)) == []


@pytest.mark.parametrize("field", ["pid", "start_time", "boot_id", "cgroup", "annotations"])
def test_state_with_a_value_of_another_type(field: str, container: Container, root: str) -> None:
    """Whatever stands in the file, the answer is an error of ours or a state: nothing else is raised."""
    container.write(known(**ourselves()))
    values = json.loads(pathlib.Path(container.path, "state.json").read_text())
    pathlib.Path(container.path, "state.json").write_text(json.dumps({**values, field: ["x"]}))
    try:
        describe(Container(root, "c1"))
    except Error as error:
        assert "state.json" in error.message


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_write_that_fails_leaves_what_was_there(
    call: str, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.write_file("state.json", b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(f"posix.{call}", fail)
    with pytest.raises(Error) as caught:
        container.write_file("state.json", b"new")
    monkeypatch.undo()
    assert caught.value.message == f"cannot write `{container.path}/state.json`: No space left on device"
    assert os.listdir(container.path) == ["state.json"]
    assert pathlib.Path(container.path, "state.json").read_bytes() == b"old"


def test_write_goes_on_after_a_short_one(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr("posix.write", lambda fd, data: write(fd, bytes(data)[:3]))
    container.write_file("x", b"0123456789")
    assert pathlib.Path(container.path, "x").read_bytes() == b"0123456789"


def test_write_follows_no_link(container: Container, tmp_path: pathlib.Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    os.symlink(outside, f"{container.path}/state.json")
    container.write_file("state.json", b"new")
    assert outside.read_text() == "as it was"


# -- the status


def start_socket(container: Container) -> None:
    with socket.socket(socket.AF_UNIX) as gate:
        fd = os.open(container.path, os.O_RDONLY)
        gate.bind(f"/proc/self/fd/{fd}/start")
        os.close(fd)


def status(container: Container, **changes: Any) -> str:
    container.write(known(**changes))
    return Container(container.root, "c1").status()


def test_status(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(container, **ourselves()) == "running"
    start_socket(container)
    # the socket of a container whose program runs: its `start` was killed
    assert status(container, **ourselves()) == "running"
    monkeypatch.setattr(process, "name", lambda pid: "pyoci-init")
    assert status(container, **ourselves()) == "created"
    # the pid is another process's by now, or that of another boot
    assert status(container, pid=os.getpid(), start_time=NEVER) == "stopped"
    assert status(container, **ourselves(), boot_id="another") == "stopped"
    assert status(container, pid=2**22, start_time=1) == "stopped"


def test_status_while_it_is_being_made(container: Container, root: str) -> None:
    assert Container(root, "c1").status() == "creating"
    assert status(container) == "creating"
    container.unlock()  # its create was killed
    assert Container(root, "c1").status() == "stopped"


def test_frozen_cgroup(container: Container, tmp_path: pathlib.Path) -> None:
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert status(container, **ourselves(), cgroup=str(tmp_path)) == "paused"
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert status(container, **ourselves(), cgroup=str(tmp_path)) == "running"


def test_state_as_it_is_printed(container: Container, root: str) -> None:
    container.write(known(**ourselves()))
    state = describe(Container(root, "c1"))
    assert list(state) == [
        "ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "systemd-scope", "owner", "annotations",
    ]  # fmt: skip
    assert (state["pid"], state["systemd-scope"]) == (os.getpid(), "pyoci-c1.scope")
    container.write(known(pid=os.getpid(), start_time=NEVER, unit="", annotations={}))
    stopped = describe(Container(root, "c1"))
    assert (stopped["pid"], stopped["status"]) == (0, "stopped")
    assert {"systemd-scope", "annotations"}.isdisjoint(stopped)
    assert json.loads(jsonio.dumps(stopped, 2)) == stopped


def test_unknown(root: str) -> None:
    for look in (lambda c: c.status(), lambda c: c.known, describe):
        with pytest.raises(NotFound) as caught:
            look(Container(root, "c1"))
        assert caught.value.message == "container `c1` does not exist"


def test_ids(root: str) -> None:
    assert store.ids(root) == []
    for name in ("b", "a", ".hidden"):
        os.makedirs(f"{root}/{name}")
    assert store.ids(root) == ["a", "b"]
    assert store.close_names(root, "ab") in ("`a` or `b`", "`b` or `a`", "`a`", "`b`")
    assert store.close_names(root, "zzz") == ""


# -- the end


def test_remove(container: Container, root: str) -> None:
    container.write(known())
    container.write_file("config.json", b"{}")
    start_socket(container)
    pathlib.Path(container.path, "state.json.99.tmp").write_text("left by a killed one")
    container.remove()
    assert os.listdir(root) == []
    container.remove()  # another one was faster
    Container(root, "c1").claim()


def test_remove_follows_no_link(container: Container, tmp_path: pathlib.Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").touch()
    deep = pathlib.Path(container.path, "notify/deep")
    deep.mkdir(parents=True)
    (deep / "link").symlink_to(tmp_path / "host")
    container.remove()
    assert not os.path.lexists(container.path)
    assert (tmp_path / "host/file").exists()


def test_remove_that_fails_is_told(container: Container) -> None:
    container.path += "/file"
    pathlib.Path(container.path).touch()
    with pytest.raises(Error, match=r"^cannot remove `"):
        container.remove()

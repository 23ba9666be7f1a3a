"""What is done below a cgroup's directory, on a directory that only looks like one."""

from __future__ import annotations

import errno
import os
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest

from pyoci_systemd.cgroup import events, tree
from pyoci_systemd.cgroupfile import File
from pyoci_systemd.errors import Error


@pytest.fixture
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(tree, "ROOT", str(tmp_path))
    return str(tmp_path)


def cgroup(path: str, **files: str) -> str:
    os.makedirs(path, exist_ok=True)
    for name, text in files.items():
        pathlib.Path(path, name.replace("__", ".")).write_text(text)
    return path


def soon() -> float:
    return time.monotonic() + 0.03


# -- the host, and where a process stands


def test_only_a_pure_hierarchy_will_do(root: str) -> None:
    with pytest.raises(Error, match="is not a pure cgroup v2 hierarchy"):
        tree.require_unified()
    cgroup(root, cgroup__controllers="cpu\n")
    tree.require_unified()


@pytest.mark.parametrize(("text", "expected"), [
    ("0::/a/b\n", "/a/b"),
    ("0::/\n", ""),
    ("12:cpu:/x\n1:name=systemd:/y\n0::/a\n", "/a"),  # a hybrid host
    ("0::/a:b/0::c\n", "/a:b/0::c"),
    ("0::/a (deleted)\n", "/a (deleted)"),
])  # fmt: skip
def test_cgroup_of_a_process(text: str, expected: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "read", lambda path: text)
    assert tree.of_process(1) == root + expected


@pytest.mark.parametrize("text", ["", "12:cpu:/x\n", "10::/a\n"])
def test_process_without_a_cgroup_of_the_new_kind(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "read", lambda path: text)
    with pytest.raises(Error, match=r"^process 7 has no cgroup v2$"):
        tree.of_process(7)


def test_process_that_is_gone() -> None:
    with pytest.raises(Error, match="cannot find the cgroup of process 4194304: No such file"):
        tree.of_process(2**22)


# -- made and unmade


@pytest.fixture
def marks(tmp_path: pathlib.Path) -> None:
    try:
        os.setxattr(tmp_path, tree.MADE, b"")
        os.removexattr(tmp_path, tree.MADE)
    except OSError:
        pytest.skip("trusted attributes need root, and a filesystem that keeps them")


def test_controllers_are_handed_down_all_the_way(root: str) -> None:
    for path in (root, f"{root}/a"):
        cgroup(path, cgroup__controllers="cpu memory\n", cgroup__subtree_control="")
    tree.make_delegated(f"{root}/a/b")
    assert pathlib.Path(root, "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert pathlib.Path(root, "a/cgroup.subtree_control").read_text() == "+cpu +memory"
    assert not pathlib.Path(root, "a/b/cgroup.subtree_control").exists()


def test_a_controller_that_is_on_is_left_alone(root: str) -> None:
    cgroup(root, cgroup__controllers="cpu io", cgroup__subtree_control="io cpu")
    tree.enable_controllers(root)
    assert pathlib.Path(root, "cgroup.subtree_control").read_text() == "io cpu"


def test_controllers_are_handed_down_from_where_we_begin(root: str) -> None:
    for path in (root, f"{root}/a", f"{root}/a/b"):
        cgroup(path, cgroup__controllers="cpu\n", cgroup__subtree_control="")
    tree.hand_down(f"{root}/a", f"{root}/a/b")
    tree.hand_down(f"{root}/a/b", f"{root}/a/b")
    written = [pathlib.Path(path, "cgroup.subtree_control").read_text() for path in (root, f"{root}/a", f"{root}/a/b")]
    assert written == ["", "+cpu", ""]


def test_one_by_one_if_not_all_at_once(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup(root, cgroup__controllers="cpu io memory", cgroup__subtree_control="memory")
    asked = []

    def refuse(path: str, text: str) -> None:
        asked.append(text)
        if "io" in text:
            raise OSError(errno.EBUSY, "a process is in the way")

    monkeypatch.setattr(tree, "write", refuse)
    tree.enable_controllers(root)
    assert asked == ["+cpu +io", "+cpu", "+io"]


@pytest.mark.parametrize(("files", "enabled"), [
    ({"cgroup__type": "domain\n", "cgroup__procs": "1\n"}, ""),
    ({"cgroup__type": "domain\n", "cgroup__procs": ""}, "+cpu"),
    ({"cgroup__procs": "1\n"}, "+cpu"),  # the root of the hierarchy has no type
    ({"cgroup__type": "threaded\n"}, "+cpu"),  # whose cgroup.procs cannot be read
])  # fmt: skip
def test_nothing_is_handed_down_beside_processes(root: str, files: dict[str, str], enabled: str) -> None:
    """The kernel would take `+cpu`, and make the cgroup the root of a threaded subtree."""
    cgroup(root, cgroup__controllers="cpu\n", cgroup__subtree_control="", **files)
    tree.enable_controllers(root)
    assert pathlib.Path(root, "cgroup.subtree_control").read_text() == enabled


def test_below_threads_all_becomes_threaded(root: str) -> None:
    for path, kind in ((root, "domain threaded"), (f"{root}/a", "threaded"), (f"{root}/a/b/c", "domain invalid")):
        cgroup(path, cgroup__type=f"{kind}\n", cgroup__controllers="", cgroup__subtree_control="")
    cgroup(f"{root}/a/b", cgroup__type="domain invalid\n", cgroup__controllers="", cgroup__subtree_control="")
    tree.make_delegated(f"{root}/a/b/c")
    kinds = [
        pathlib.Path(path, "cgroup.type").read_text() for path in (root, f"{root}/a", f"{root}/a/b", f"{root}/a/b/c")
    ]
    assert [kind.startswith(("threaded", "domain threaded")) for kind in kinds] == [True] * 4


LISTED = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\nmemory.oom.group\nmemory.reclaim\n"


@pytest.mark.parametrize(("listed", "given"), [
    (LISTED, ["", "cgroup.procs", "cgroup.threads", "memory.oom.group"]),
    (None, ["", "cgroup.procs", "cgroup.threads"]),
])  # fmt: skip
def test_what_belongs_to_who_divides_a_cgroup(
    root: str, listed: str | None, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:  # CG3
    where = pathlib.Path(root, "list")
    if listed is not None:
        where.write_text(listed)
    monkeypatch.setattr(tree, "DELEGATE", str(where))
    path = cgroup(f"{root}/a", cgroup__procs="", cgroup__threads="", memory__oom__group="", memory__max="")
    chowned = []

    def chown(path: str, uid: int, gid: int) -> None:
        os.stat(path)
        chowned.append((path.removeprefix(f"{root}/a/"), uid, gid))

    monkeypatch.setattr("posix.chown", chown)
    tree.delegate(path, 1000, 2000)
    assert chowned == [(name, 1000, 2000) for name in given]


def test_who_enters_a_frozen_cgroup(root: str) -> None:
    for path, frozen in (("a", "0"), ("a/b", "1"), ("a/b/c", "0")):
        cgroup(f"{root}/{path}", cgroup__freeze=f"{frozen}\n")
    assert tree.frozen(f"{root}/a/b/c/to/be/made") == f"{root}/a/b"
    assert tree.frozen(f"{root}/a/b") == f"{root}/a/b"
    assert tree.frozen(f"{root}/a") == tree.frozen(f"{root}/new") == tree.frozen(root) == ""


def test_what_was_made_on_the_way_goes_with_the_last(root: str, marks: None) -> None:
    cgroup(f"{root}/others")
    for path in ("others/a/b/one", "others/a/b/two"):
        tree.make(f"{root}/{path}", marked=True)
    tree.unmake(f"{root}/others/a/b/one", soon())
    assert os.listdir(f"{root}/others/a/b") == ["two"]
    # whoever is last, also when another one made it
    tree.unmake(f"{root}/others/a/b/two", soon())
    assert os.listdir(f"{root}/others") == []


def test_what_others_made_stays(root: str, marks: None) -> None:
    os.makedirs(f"{root}/others/theirs")
    tree.make(f"{root}/others/theirs/one", marked=True)
    tree.make(f"{root}/unmarked/two")
    tree.unmake(f"{root}/others/theirs/one", soon())
    tree.unmake(f"{root}/unmarked/two", soon())
    assert os.listdir(f"{root}/others") == ["theirs"]
    assert os.path.isdir(f"{root}/unmarked")


def test_without_attributes_nothing_above_is_removed(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr("posix.setxattr", denied)
    tree.make(f"{root}/a/b", marked=True)
    tree.unmake(f"{root}/a/b", soon())
    assert os.listdir(root) == ["a"]


# -- limits and processes


def test_enter(root: str) -> None:
    cgroup(f"{root}/a", cgroup__procs="")
    tree.enter(f"{root}/a", 42)
    assert pathlib.Path(root, "a/cgroup.procs").read_text() == "42"
    with pytest.raises(Error, match=r"^cannot enter the cgroup `.*/b`: No such file or directory$"):
        tree.enter(f"{root}/b", 42)


def test_limits(root: str) -> None:
    cgroup(root, memory__max="", cgroup__controllers="memory\n")
    tree.apply(root, [File("memory.max", "max", "memory.limit")])
    assert pathlib.Path(root, "memory.max").read_text() == "max"
    with pytest.raises(Error) as caught:
        tree.apply(root, [File("memory.max", "4096", "memory.limit"), File("cpu.weight", "1", "cpu.shares")])
    text = f"linux.resources.cpu.shares: the cpu controller is not available in `{root}`"
    assert caught.value.message == f"{text}: this machine does not have it in cgroup v2"
    with pytest.raises(Error) as caught:
        tree.apply(root, [File("memory.zswap.max", "0", "unified.memory.zswap.max")])
    told = "linux.resources.unified.memory.zswap.max: this kernel's memory controller has no `memory.zswap.max`"
    assert caught.value.message == told
    os.mkdir(f"{root}/pids.max")
    with pytest.raises(Error, match="^linux.resources.pids.limit: cannot write `1` to `.*/pids.max`: Is a directory"):
        tree.apply(root, [File("pids.max", "1", "pids.limit")])


@pytest.mark.parametrize(("top", "service", "reason", "hint"), [
    ("", "", "this machine does not have it in cgroup v2", "cgroup_disable="),
    ("cpu", "", "`ROOT` does not hand it down", "Delegate=yes"),
    ("cpu", "cpu", "`ROOT/service` does not hand it down", "Delegate=yes"),
    ("cpu", "cpu with processes", "processes live in `ROOT/service`, so it hands no controllers down", "DelegateSubgroup="),
])  # fmt: skip
def test_who_keeps_a_controller_back(root: str, top: str, service: str, reason: str, hint: str) -> None:
    handed = "cpu\n" if service else "\n"
    cgroup(root, cgroup__controllers=f"{top}\n", cgroup__subtree_control=handed)
    crowded = "1\n" if "processes" in service else ""
    cgroup(f"{root}/service", cgroup__controllers=handed, cgroup__subtree_control="\n", cgroup__procs=crowded)
    cgroup(f"{root}/service", cgroup__type="domain\n")
    cgroup(f"{root}/service/c1", cgroup__controllers="\n", cgroup__subtree_control="\n")
    with pytest.raises(Error) as caught:
        tree.apply(f"{root}/service/c1", [File("cpu.weight", "1", "cpu.shares")])
    text = f"linux.resources.cpu.shares: the cpu controller is not available in `{root}/service/c1`: "
    assert caught.value.message == text + reason.replace("ROOT", root)
    assert hint in caught.value.hint


def test_a_controller_of_nobody_s_is_handed_down(root: str) -> None:
    for path in ("", "/a", "/a/b"):
        cgroup(root + path, cgroup__controllers="hugetlb cpu\n", cgroup__subtree_control="")
    for name, asked in (("hugetlb.2MB.max", "+hugetlb"), ("cpu.max", ""), ("cgroup.max.depth", "")):
        assert not tree.reaches(f"{root}/a/b", name)  # a directory gets no files by that
        for path in ("", "/a"):
            control = pathlib.Path(f"{root}{path}/cgroup.subtree_control")
            assert control.read_text() == asked
            control.write_text("")
        assert pathlib.Path(root, "a/b/cgroup.subtree_control").read_text() == ""


def test_limit_with_two_names(root: str) -> None:
    weight = File("io.bfq.weight", "default 10", "blockIO.weight", ("io.weight", "default 11"))
    with pytest.raises(Error, match="^linux.resources.blockIO.weight: the io controller is not available"):
        cgroup(root, cgroup__controllers="cpu\n")
        tree.apply(root, [weight])
    cgroup(root, io__weight="")
    tree.apply(root, [weight])
    assert pathlib.Path(root, "io.weight").read_text() == "default 11"
    cgroup(root, io__bfq__weight="")
    tree.apply(root, [weight])
    assert pathlib.Path(root, "io.bfq.weight").read_text() == "default 10"


def test_kill(root: str) -> None:
    cgroup(root, cgroup__kill="")
    tree.kill(root)
    assert pathlib.Path(root, "cgroup.kill").read_text() == "1"
    tree.kill(f"{root}/gone")


@pytest.fixture
def populated(root: str) -> Iterator[pathlib.Path]:
    yield pathlib.Path(cgroup(root, cgroup__events="populated 1\nfrozen 0\n"), "cgroup.events")


def test_events(populated: pathlib.Path) -> None:
    path = str(populated.parent)
    assert events.event(path, "populated")
    assert not events.event(path, "frozen")
    assert not events.event(path, "popul")
    assert not events.event(f"{path}/gone", "populated")
    populated.unlink()
    populated.mkdir()
    with pytest.raises(IsADirectoryError):
        events.event(path, "populated")


def test_wait_empty(populated: pathlib.Path) -> None:
    path = str(populated.parent)
    assert not tree.wait_empty(path, soon())
    emptied = threading.Timer(0.02, lambda: populated.write_text("populated 0\n"))
    emptied.start()
    assert tree.wait_empty(path, time.monotonic() + 5)
    emptied.join()
    assert tree.wait_empty(f"{path}/gone", soon())

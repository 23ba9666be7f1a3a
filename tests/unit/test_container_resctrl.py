"""linux.intelRdt on a directory that behaves as resctrl does: groups come with their files, and are removed with them."""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import Any

import pytest

from pyoci_systemd import kernelfs
from pyoci_systemd.container import resctrl
from pyoci_systemd.container.resctrl import Share
from pyoci_systemd.errors import Error, SpecError

SCHEMATA = "    L3:0=7ff;1=7ff\n    MB:0=100;1= 50\n"


class Resctrl:
    """A resctrl. `written` is what was written, in order, as (path below the mount, text)."""

    def __init__(self, path: pathlib.Path) -> None:
        self.mount = str(path)
        self.written: list[tuple[str, str]] = []
        self.refuse = ""
        self.classes_left = 2
        (path / "info").mkdir()
        (path / "info/last_cmd_status").write_text("ok\n")
        self.fill(path)
        (path / "mon_groups").mkdir()

    def fill(self, path: pathlib.Path) -> None:
        for name, text in (("schemata", SCHEMATA), ("tasks", "")):
            (path / name).write_text(text)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)
        if "mon_groups" in path:
            (pathlib.Path(path) / "tasks").write_text("")
        elif not self.classes_left:
            os.rmdir(path)
            raise OSError(28, "No space left on device")
        else:
            self.fill(pathlib.Path(path))
            (pathlib.Path(path) / "mon_groups").mkdir()

    def rmdir(self, path: str) -> None:
        if not os.path.isdir(path):
            raise FileNotFoundError(2, "No such file or directory")
        shutil.rmtree(path)

    def write(self, path: str, text: str) -> None:
        assert os.path.exists(path)
        if self.refuse and self.refuse in path + text:
            pathlib.Path(self.mount, "info/last_cmd_status").write_text("Mask out of range\n")
            raise OSError(22, "Invalid argument")
        self.written.append((os.path.relpath(path, self.mount), text))

    def groups(self) -> set[str]:
        found = {str(path.parent.relative_to(self.mount)) for path in pathlib.Path(self.mount).rglob("tasks")}
        return found - {"."}


@pytest.fixture
def fake(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Resctrl:
    made = Resctrl(tmp_path)
    for name in ("mkdir", "rmdir"):
        monkeypatch.setattr(f"posix.{name}", getattr(made, name))
    monkeypatch.setattr(kernelfs, "write", made.write)
    return made


def share(fake: Resctrl, container: str = "c1", **asked: Any) -> Share:
    return Share(asked, container, fake.mount)  # type: ignore[arg-type]


def admitted(fake: Resctrl, **asked: Any) -> list[tuple[str, str]]:
    one = share(fake, **asked)
    one.check()
    one.admit(42)
    return fake.written


# -- who is where


@pytest.mark.parametrize(("asked", "writes", "groups"), [
    # RDT5: a class of its own; RDT4: nothing asked, nothing written
    ({"enableMonitoring": False}, [("c1/tasks", "42")], {"c1"}),
    # RDT5: one that is not there is made
    ({"closID": "x", "l3CacheSchema": "L3:0=f"}, [("x/schemata", "L3:0=f\n"), ("x/tasks", "42")], {"x"}),
    # RDT2
    ({"closID": "/"}, [("tasks", "42")], set()),
    # RDT4: in this order
    (
        {"schemata": ["L2:0=1", "L3:0=1"], "memBwSchema": "MB:0=50", "l3CacheSchema": "L3:0=f;1=f"},
        [("c1/schemata", text) for text in ("L3:0=f;1=f\n", "MB:0=50\n", "L2:0=1\n", "L3:0=1\n")] + [("c1/tasks", "42")],
        {"c1"},
    ),
    # l3CacheSchema once held both: memBwSchema wins
    (
        {"l3CacheSchema": "L3:0=f\nMB:0=10", "memBwSchema": "MB:0=50"},
        [("c1/schemata", "L3:0=f\n"), ("c1/schemata", "MB:0=50\n"), ("c1/tasks", "42")],
        {"c1"},
    ),
    ({"l3CacheSchema": "L3:0=f\nMB:0=10\n"}, [("c1/schemata", "L3:0=f\nMB:0=10\n"), ("c1/tasks", "42")], {"c1"}),
    # RDT9: the class first, for a monitoring group takes only who is in its class
    (
        {"enableMonitoring": True},
        [("c1/tasks", "42"), ("c1/mon_groups/c1/tasks", "42")],
        {"c1", "c1/mon_groups/c1"},
    ),
    ({"closID": "/", "enableMonitoring": True}, [("tasks", "42"), ("mon_groups/c1/tasks", "42")], {"mon_groups/c1"}),
])  # fmt: skip
def test_container_is_put_into_its_class(
    fake: Resctrl, asked: Any, writes: list[Any], groups: set[str]
) -> None:  # RDT1
    assert admitted(fake, **asked) == writes
    assert fake.groups() == groups


@pytest.mark.parametrize("asked", [
    {}, {"l3CacheSchema": "L3:0=7ff;1=7ff"}, {"l3CacheSchema": "L3:1=07FF"}, {"memBwSchema": "MB:1=50"},
    {"l3CacheSchema": "L3: 0=7ff\n", "memBwSchema": "MB:0=100;1=50"},
])  # fmt: skip
def test_class_that_is_there_and_fits(fake: Resctrl, asked: Any) -> None:  # RDT6
    fake.mkdir(f"{fake.mount}/x", 0o755)
    assert admitted(fake, closID="x", **asked) == [("x/tasks", "42")]


@pytest.mark.parametrize(("asked", "message"), [
    ({"l3CacheSchema": "L3:0=7fe"}, "l3CacheSchema: class `x` has another share of L3 in domain "),
    ({"l3CacheSchema": "L3:2=7ff"}, "l3CacheSchema: class `x` has another share of L3 in domain 2"),
    ({"l3CacheSchema": "L2:1=7ff"}, "l3CacheSchema: class `x` has another share of L2 in domain 1"),
    ({"memBwSchema": "MB:1=60"}, "memBwSchema: class `x` has another share of MB in domain 1"),
])  # fmt: skip
def test_class_that_is_there_and_differs(fake: Resctrl, asked: Any, message: str) -> None:  # RDT6
    fake.mkdir(f"{fake.mount}/x", 0o755)
    with pytest.raises(SpecError) as caught:
        share(fake, closID="x", **asked).check()
    assert caught.value.message.startswith(f"config.json: linux.intelRdt.{message}")
    assert fake.written == []


def test_schemata_of_a_class_that_is_there(fake: Resctrl) -> None:
    fake.mkdir(f"{fake.mount}/x", 0o755)
    assert admitted(fake, closID="x", schemata=["L3:0=1"]) == [("x/schemata", "L3:0=1\n"), ("x/tasks", "42")]


def test_class_that_nothing_describes_must_be_there(fake: Resctrl) -> None:  # RDT7
    with pytest.raises(SpecError, match="there is no class `x`"):
        share(fake, closID="x", enableMonitoring=True).check()


def test_machine_without_resctrl() -> None:  # RDT1
    with pytest.raises(Error) as caught:
        Share({"closID": "x"}, "c1", "").check()
    assert caught.value.message == "config.json: linux.intelRdt: no resctrl filesystem is mounted"


@pytest.mark.parametrize("name", ["info", "mon_groups", "mon_data"])
def test_container_called_like_what_is_there(fake: Resctrl, name: str) -> None:
    with pytest.raises(Error, match="closID is required"):
        share(fake, name, l3CacheSchema="L3:0=f").check()


# -- what goes


@pytest.mark.parametrize(("asked", "own"), [
    ({}, ["c1"]),
    ({"enableMonitoring": True}, ["c1/mon_groups/c1", "c1"]),
    # whoever named a class keeps it
    ({"closID": "x", "schemata": ["L3:0=f"]}, []),
    ({"closID": "x", "schemata": ["L3:0=f"], "enableMonitoring": True}, ["x/mon_groups/c1"]),
    ({"closID": "/", "enableMonitoring": True}, ["mon_groups/c1"]),
])  # fmt: skip
def test_delete_removes_what_is_the_container_s_alone(fake: Resctrl, asked: Any, own: list[str]) -> None:  # RDT8
    one = share(fake, **asked)
    made = one.own()
    assert made == [f"{fake.mount}/{name}" for name in own]
    admitted(fake, **asked)
    resctrl.remove(made)
    resctrl.remove(made)  # twice does no harm
    assert fake.groups() == ({"x"} if asked.get("closID") == "x" else set())


def test_class_of_that_name_of_someone_else_s_stays(fake: Resctrl) -> None:
    fake.mkdir(f"{fake.mount}/c1", 0o755)
    assert share(fake).own() == []


@pytest.mark.parametrize("asked", [{}, {"closID": "x"}])
@pytest.mark.parametrize("refuse", ["L3:0=f", "MB:0=50", "mon_groups/c1/tasks"])
def test_failure_is_undone(fake: Resctrl, asked: Any, refuse: str) -> None:
    fake.refuse = refuse
    one = share(fake, l3CacheSchema="L3:0=f", memBwSchema="MB:0=50", enableMonitoring=True, **asked)
    one.check()
    with pytest.raises(Error) as caught:
        one.admit(42)
    assert caught.value.message.endswith(": Invalid argument")
    assert ("Mask out of range" in caught.value.message) is refuse.startswith(("L3", "MB"))
    one.undo()
    assert fake.groups() == set()


def test_failure_leaves_what_was_there(fake: Resctrl) -> None:
    fake.mkdir(f"{fake.mount}/x", 0o755)
    fake.refuse = "x/tasks"
    one = share(fake, closID="x", enableMonitoring=True)
    with pytest.raises(Error, match="cannot put process 42 into"):
        one.admit(42)
    one.undo()
    assert fake.groups() == {"x"}


def test_monitoring_group_of_someone_else_s(fake: Resctrl) -> None:  # RDT9
    fake.mkdir(f"{fake.mount}/mon_groups/c1", 0o755)
    one = share(fake, closID="/", enableMonitoring=True)
    with pytest.raises(Error, match=r"enableMonitoring: .* is there already$"):
        one.admit(42)
    one.undo()
    assert fake.groups() == {"mon_groups/c1"}


def test_no_class_is_left(fake: Resctrl) -> None:
    fake.classes_left = 0
    one = share(fake)
    with pytest.raises(Error, match="No space left on device"):
        one.admit(42)
    one.undo()
    assert fake.groups() == set()


# -- another share, later


def test_change(fake: Resctrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resctrl, "mount_point", lambda: fake.mount)
    one = share(fake, closID="c", schemata=["L3:0=f"])
    one.admit(42)
    fake.written.clear()
    resctrl.change(one.groups(), "L3:0=ff", "MB:0=20")
    assert fake.written == [("c/schemata", "L3:0=ff\n"), ("c/schemata", "MB:0=20\n")]
    fake.refuse = "L3:0=f0f"
    with pytest.raises(Error) as caught:
        resctrl.change(one.groups(), "L3:0=f0f", "")
    path = f"{fake.mount}/c/schemata"
    said = "--l3-cache-schema: cannot write `L3:0=f0f` to `{}`: Mask out of range: Invalid argument"
    assert caught.value.message == said.format(path)


def test_change_of_a_container_without() -> None:
    with pytest.raises(Error, match=r"^the container is in no class of resctrl"):
        resctrl.change([], "L3:0=f", "")


# -- where it is


def test_mount_point(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(resctrl, "MOUNTS", str(table))
    many = "".join(f"{n} 1 0:5 / /m{n} rw - tmpfs resctrl rw\n" for n in range(5000))
    table.write_text(many)
    assert resctrl.mount_point() == ""
    table.write_text(many + "99 1 0:9 / /sys/fs/resctrl rw,relatime shared:7 - resctrl resctrl rw,mba_MBps\n")
    assert resctrl.mount_point() == "/sys/fs/resctrl"


def test_mount_point_of_this_machine() -> None:
    assert resctrl.mount_point() in ("", "/sys/fs/resctrl")

"""A delegated cgroup, split: where its halves are, and whether it is ours to split. What is written is seen in the
integration tests (test_services.py).
"""

from __future__ import annotations

import pathlib

import pytest

from pyoci_systemd.cgroup import split, tree
from pyoci_systemd.errors import Error

SERVICE = f"{tree.ROOT}/system.slice/web.service"


@pytest.mark.parametrize("below", ["", "/supervisor", "/.control"])
def test_from_wherever_we_stand(below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "of_process", lambda pid: SERVICE + below)
    monkeypatch.setattr(split, "marked", lambda path: ["user.delegate"] if path == SERVICE else [])
    assert split.whole() == SERVICE
    assert split.container() == f"{SERVICE}/container"


@pytest.mark.parametrize(("path", "delegated", "ours"), [
    ("/system.slice/web.service", "/system.slice/web.service", True),
    ("/system.slice/web.service/a/b", "/system.slice/web.service", True),
    ("/system.slice/web.service", "", False),
    ("/user.slice", "", False),
    # a user's manager has all of its cgroups from PID 1, and marks none of them
    ("/user.slice/user@1.service/app.slice/web.service", "/user.slice/user@1.service", True),
    ("/user.slice/session-1.scope", "/user.slice/user@1.service", False),
    # no systemd far and wide
    ("/payload", "", True),
    ("", "", True),
])  # fmt: skip
def test_whose_it_is(path: str, delegated: str, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "marked", lambda at: ["trusted.delegate"] if at == tree.ROOT + delegated else [])
    assert split.delegated(tree.ROOT + path) is ours


def test_not_delegated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "of_process", lambda pid: SERVICE)
    monkeypatch.setattr(split, "marked", lambda path: [])
    with pytest.raises(Error, match="is not delegated to us"):
        split.container()


def test_everybody_moves(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cgroup.procs").write_text("17\n18\n")
    (tmp_path / "supervisor").mkdir()
    (tmp_path / "supervisor/cgroup.procs").touch()
    split.make(f"{tmp_path}/container")
    assert (tmp_path / "container").is_dir()
    assert (tmp_path / "supervisor/cgroup.procs").read_text() == "18"

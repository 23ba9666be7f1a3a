"""subuid(5) and subgid(5), and the programs that write maps for a user."""

from __future__ import annotations

import os
import pathlib
import posix
import time

import pytest

from pyoci_systemd import kernelfs
from pyoci_systemd.container import idmaps, subids
from pyoci_systemd.errors import Error

UID = os.getuid()

# the file, the ranges of the user `me` with our uid
FILES = [
    ("", []),
    ("me:100000:65536\n", [(100000, 65536)]),
    (f"you:1:2\nme:3:4\n{UID}:5:6\nmenu:7:8\n", [(3, 4), (5, 6)]),
    ("me:100000\nme:1:2:3\nme:-1:2\nme:１:2\nme::\n# me:1:2\nme:7:8", [(7, 8)]),
]


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_ranges(
    text: str, expected: list[tuple[int, int]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subids, "owner", lambda: "me")
    (tmp_path / "subuid").write_text(text)
    assert subids.ranges(f"{tmp_path}/subuid") == expected


def test_no_file_gives_no_ranges() -> None:
    assert subids.ranges("/nonexistent") == []


@pytest.fixture
def helper(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Return the path of a newuidmap that a test is to write."""
    monkeypatch.setattr(subids, "environ", lambda name: str(tmp_path) if name == "PATH" else "")
    monkeypatch.setattr(subids, "PATH", "")
    return tmp_path / "newuidmap"


def write(path: pathlib.Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_a_helper_is_told(helper: pathlib.Path) -> None:
    write(helper, f'echo "$@" >{helper}.told')
    subids.write(4711, "uid", "0 1000 1\n1 100000 65536\n")
    assert pathlib.Path(f"{helper}.told").read_text() == "4711 0 1000 1 1 100000 65536\n"


@pytest.mark.parametrize(("script", "words"), [
    ("echo 'newuidmap: uid range [1-2) -> [7-8) not allowed' >&2; exit 1", "uid range [1-2) -> [7-8) not allowed"),
    ("exit 3", "exit status 3"),
])  # fmt: skip
def test_a_helper_that_refuses(script: str, words: str, helper: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(helper, script)
    monkeypatch.setattr(subids, "owner", lambda: "me")
    with pytest.raises(Error) as caught:
        subids.write(4711, "uid", "0 1000 1\n1 7 1\n")
    assert caught.value.message == f"newuidmap: cannot map `0 1000 1; 1 7 1`: {words}"
    assert caught.value.hint == "`/etc/subuid` has no range for `me`; as root: usermod --add-subuids 100000-165535 me"


def test_a_helper_that_hangs(helper: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(helper, "exec sleep 1000")
    monkeypatch.setattr(subids, "DEADLINE", 0.2)
    since = time.monotonic()
    with pytest.raises(Error, match="^newuidmap did not end within "):
        subids.write(4711, "uid", "0 1000 1\n1 7 1\n")
    assert time.monotonic() - since < 10


@pytest.mark.usefixtures("helper")
def test_no_helper() -> None:
    with pytest.raises(Error, match="^`newuidmap` is not installed: ") as caught:
        subids.write(4711, "uid", "0 1000 1\n1 7 1\n")
    assert "install uidmap" in caught.value.hint


# euid, the maps, what is written by whom
WRITTEN = [
    (0, "0 1000 1\n", "0 100 1\n", ["uid_map", "gid_map"]),
    (1000, "0 1000 1\n", "0 100 1\n", ["uid_map", "setgroups", "gid_map"]),
    (1000, "0 1000 1\n1 7 9\n", "0 100 1\n1 7 9\n", ["newuidmap", "newgidmap"]),
    (1000, "0 1000 1\n", "0 100 1\n1 7 9\n", ["uid_map", "newgidmap"]),
    (1000, "0 1001 1\n", "0 100 2\n", ["newuidmap", "newgidmap"]),
]


@pytest.mark.parametrize(("euid", "uid_map", "gid_map", "expected"), WRITTEN)
def test_who_writes_what(
    euid: int, uid_map: str, gid_map: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups are denied before theirs are mapped: the kernel asks for it (CVE-2014-8989)."""
    written: list[str] = []
    monkeypatch.setattr(posix, "geteuid", lambda: euid)
    monkeypatch.setattr(posix, "getegid", lambda: 100)
    monkeypatch.setattr(kernelfs, "write", lambda path, text: written.append(path.rpartition("/")[2]))
    monkeypatch.setattr(subids, "write", lambda pid, kind, text: written.append(f"new{kind}map"))
    idmaps.write(4711, uid_map, gid_map)
    assert written == expected


@pytest.mark.parametrize(("euid", "uid_map", "others"), [
    (1000, "0 1000 1\n1 7 9\n", False), (1000, "0 100000 1000\n1000 1000 1\n", True), (0, "0 100000 9\n", False),
])  # fmt: skip
def test_who_is_no_process_of_the_user_s(
    euid: int, uid_map: str, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix, "geteuid", lambda: euid)
    assert idmaps.become_others(uid_map) == others

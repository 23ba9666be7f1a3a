"""The archive of byte code: what is in it, and that every verb runs from it as from the modules."""

from __future__ import annotations

import gc
import marshal
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from pyoci_systemd import archive

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
NAME = f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A library directory: the package, and its archive."""
    library = tmp_path_factory.mktemp("library")
    (library / archive.PACKAGE).symlink_to(CHECKOUT / archive.PACKAGE)
    here = pathlib.Path.cwd()
    os.chdir(CHECKOUT)
    try:
        archive.write(str(library))
    finally:
        os.chdir(here)
    return library


def run(installed: pathlib.Path, *args: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-ISB", "-Xutf8", *options, str(installed / f"{NAME}.pyc"), "0", "pyoci", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, cwd="/")


def test_what_is_written(installed: pathlib.Path) -> None:
    assert sorted(os.listdir(installed)) == [archive.PACKAGE, f"{NAME}.code", f"{NAME}.pyc"]
    # nothing of where it was made
    for name in (f"{NAME}.code", f"{NAME}.pyc"):
        assert str(CHECKOUT).encode() not in (installed / name).read_bytes()


def test_modules_come_from_the_archive_alone(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = run(installed, "--root", str(tmp_path), "list", "--quiet", options=("-Ximporttime",))
    assert (done.returncode, done.stdout) == (0, "")
    assert [line for line in done.stderr.splitlines() if archive.PACKAGE in line] == []


@pytest.mark.parametrize("args", [
    "state none", "kill none", "start none", "delete none", "delete --force none", "list",
    "create --bundle /none one", "run --bundle /none one", "plan /none", "--help",
])  # fmt: skip
def test_a_command_does_the_same_from_the_archive(args: str, installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    words = ["--root", str(tmp_path / "state"), *args.split()]
    ours = run(installed, *words)
    script = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from pyoci_systemd.main import launched; launched()"
    command = [sys.executable, "-ISBXutf8", "-c", script, "0", "pyoci", *words]
    theirs = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd="/")
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert "internal error" not in ours.stderr


def test_only_the_ops_keep_their_sentences() -> None:
    code = archive.compiled("pyoci_systemd.plan.ops")
    assert any(
        isinstance(const, str) and "give up new privileges" in const for holder in constants(code) for const in holder
    )
    code = archive.compiled("pyoci_systemd.errors")
    assert not any(
        isinstance(const, str) and "The errors a user sees" in const for holder in constants(code) for const in holder
    )


def constants(code: object) -> list[tuple[object, ...]]:
    consts = getattr(code, "co_consts", ())
    return [consts, *(inner for const in consts for inner in constants(const))]


def test_a_file_in_use_is_replaced_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with open(path, "rb") as used:
        archive.replace(str(path), b"new and longer")
        assert used.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert os.listdir(tmp_path) == ["x"]


def test_segments_are_what_they_say(installed: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each verb's modules, none of them twice, none of them missing."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(gc, "disable", lambda: None)
    script = marshal.loads((installed / f"{NAME}.pyc").read_bytes()[16:])
    space: dict[str, Any] = {"__file__": "/none/x.pyc"}
    with pytest.raises(FileNotFoundError):  # the code beside it
        exec(script, space)
    segments = space["SEGMENTS"]
    blob = (installed / f"{NAME}.code").read_bytes()
    assert set(segments) == {None, *archive.VERBS}
    for modules, offset, size in segments.values():
        assert len(marshal.loads(blob[offset : offset + size])) == len(modules) == len(set(modules))
    assert f"{archive.PACKAGE}.main" in segments[None][0]

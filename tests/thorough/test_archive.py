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
HOME = f"{NAME}/lib/{NAME}/encodings.pyc"


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
    """Run a command as the launcher does."""
    command = [sys.executable, "-sPSB", "-Xutf8", *options, str(installed / f"{NAME}.pyc"), "0", "pyoci", *args]
    env = {"PYTHONHOME": str(installed / NAME)}
    return subprocess.run(command, capture_output=True, text=True, timeout=20, cwd="/", env=env)


def test_what_is_written(installed: pathlib.Path) -> None:
    assert sorted(os.listdir(installed)) == [archive.PACKAGE, NAME, f"{NAME}.code", f"{NAME}.pyc"]
    # nothing of where it was made
    for name in (f"{NAME}.code", f"{NAME}.pyc", HOME):
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


HOMELESS = r"""
import os, sys
print(os.environ.get("PYTHONHOME"), sys.path, sys.prefix, sys._stdlib_dir, os.__file__)
"""
CODECS = r"""
import sys
for name in ("utf-8", "UTF8", "u8", "ascii", "latin-1", "utf-16", "cp437", "idna", "rot13", "none such"):
    try:
        import codecs
        print(name, codecs.lookup(name).name)
    except LookupError as error:
        print(error)
import encodings, locale, encodings.aliases
print(encodings.__file__, "\N{SNOWMAN}", b"\xff".decode(errors="replace"), sys.stdout.encoding, open("/dev/null").encoding)
for broken in (b"\xff", b"\xe2\x98"):
    try:
        str(broken, "utf-8")
    except UnicodeDecodeError as error:
        print(error)
print(repr(sys.stdin.read()))
"""


@pytest.mark.parametrize("script", [HOMELESS, CODECS], ids=["library", "codecs"])
def test_python_is_itself_again_when_it_is_up(
    script: str, installed: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs from the archive sees the library, prefixes and codecs that `python3 -IS` sees."""
    given = "ä☃".encode() * 5000
    theirs = subprocess.run([sys.executable, "-ISBXutf8", "-c", script], input=given, capture_output=True, timeout=20)
    with monkeypatch.context() as patch:
        patch.chdir(CHECKOUT)
        patch.setattr(archive, "START", f"sys.path.remove(HOME)\n{script}")
        patch.setattr(archive, "settle", lambda home: None)
        archive.write(str(tmp_path))
    command = [sys.executable, "-sPSB", "-Xutf8", str(tmp_path / f"{NAME}.pyc"), "0", "pyoci"]
    env = {"PYTHONHOME": str(installed / NAME)}
    ours = subprocess.run(command, input=given, capture_output=True, timeout=20, env=env)
    assert (ours.stdout.decode(), ours.stderr) == (theirs.stdout.decode(), theirs.stderr)


@pytest.mark.parametrize("script", ["posix._exit(1)", "posix.write(2, b'odd')"])
def test_a_home_that_does_not_do_is_not_left(
    script: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setattr(archive, "START", script)
    archive.write(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [f"{NAME}.code", f"{NAME}.pyc"]


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

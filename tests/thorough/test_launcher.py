"""The launcher, under the sanitizers, with an interpreter that only tells how it was called."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "pyoci_systemd/init/launcher.c"
SANITIZED = [
    "-std=c17",
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]


class Launcher:
    """A launcher built for an interpreter and a library of its own."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.python, self.library = directory / "python3", directory / "lib"
        (self.library / "pyoci_systemd").mkdir(parents=True)
        self.real = directory / "python3.99"
        self.real.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        self.real.chmod(0o755)
        self.python.symlink_to("python3.99")
        self.program = directory / "launcher"
        places = [f'-DPYTHON="{self.python}"', f'-DLIBRARY="{self.library}"']
        subprocess.run(["gcc", *SANITIZED, *places, "-o", self.program, SOURCE], check=True, timeout=60)

    def __call__(self, *argv: str | bytes, env: dict[str, str] | None = None) -> list[str]:
        """Return what the interpreter was called with."""
        done = subprocess.run(argv, executable=self.program, capture_output=True, timeout=10, env=env or {})
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout.decode("utf-8", "surrogateescape").split("\n")[:-1]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    return Launcher(tmp_path_factory.mktemp("launcher"))


def test_arguments_are_handed_on(launcher: Launcher) -> None:
    door = f"{launcher.library}/pyoci_systemd/__main__.py"
    assert launcher("pyoci") == ["-ISB", "-Xutf8", door, "0", "pyoci"]
    words = ["", " ", "*", "$HOME", "--", "-c", "x" * 100_000, "\udcff", "ä"]
    assert launcher("/usr/bin/pyoci", *words) == ["-ISB", "-Xutf8", door, "0", "/usr/bin/pyoci", *words]
    assert launcher("a b", *["x"] * 10_000)[5:] == ["x"] * 10_000


def test_archive_is_taken_where_there_is_one_for_the_interpreter(launcher: Launcher) -> None:
    archive = launcher.library / "python3.99.pyc"
    archive.touch()
    try:
        assert launcher("pyoci")[2] == str(archive)
        # an interpreter by a link that leads elsewhere, or by none: which Python it is cannot be told
        for link in (str(launcher.real), "../x/python3.99", "python3.98", "n" * 200):
            launcher.python.unlink()
            os.link(launcher.real, launcher.python.with_name(os.path.basename(link))) if link == "python3.98" else None
            launcher.python.symlink_to(link)
            if launcher.python.exists():
                assert launcher("pyoci")[2] == f"{launcher.library}/pyoci_systemd/__main__.py"
    finally:
        archive.unlink()
        launcher.python.unlink()
        launcher.python.symlink_to("python3.99")


def test_home_in_which_the_interpreter_boots(launcher: Launcher) -> None:
    archive, home = launcher.library / "python3.99.pyc", launcher.library / "python3.99"
    archive.touch()
    home.mkdir()
    launcher.real.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nenv | grep PYTHON\n')
    steered = {"PYTHONPATH": "/x", "PYTHONHOME": "/x", "PYTHONSTARTUP": "/x", "A": "PYTHON"}
    try:
        words = launcher("pyoci", env=steered)
        assert words[:5] == ["-sPSB", "-Xutf8", str(archive), "0", "pyoci"]
        assert sorted(words[5:]) == ["A=PYTHON", f"PYTHONHOME={home}"]
        home.rmdir()
        assert launcher("pyoci", env=steered)[5:] == ["A=PYTHON"]
    finally:
        archive.unlink()
        launcher.real.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')


@pytest.mark.parametrize(("line", "helped"), [
    ("run c", True), ("create c", True), ("--root run state c", True), ("--systemd-cgroup create c", True),
    ("state c", False), ("", False), ("start c", False), ("runs", False), ("delete --force c", False),
    ("--cgroup-manager cgroupfs run c", False), ("--cgroup-manager=disabled create c", False),
])  # fmt: skip
def test_helper_is_started_for_what_makes_a_scope(line: str, helped: bool, launcher: Launcher) -> None:
    assert (launcher("pyoci", *line.split())[3] != "0") is helped


def test_interpreter_that_is_not_there(launcher: Launcher) -> None:
    launcher.python.unlink()
    try:
        done = subprocess.run([launcher.program, "run", "c"], capture_output=True, timeout=10, text=True)
    finally:
        launcher.python.symlink_to("python3.99")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"pyoci: `{launcher.python}`: No such file or directory\n"

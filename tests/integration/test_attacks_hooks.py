"""Hooks that are no good program, or behave badly: each fails in one line and in time, and leaves nothing behind.

Seen red:
    where output goes                     the file of the annotation opened to wait for a FIFO's reader: never an end
    children of a failed hook             only the hook itself killed: four kinds, three ends

Not yet: what is no program, and how else it behaves; there is no single line in the runtime that could be left out.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyoci_systemd.plan.hooks import KINDS
from tests.integration.attack_scene import Outside, checksums
from tests.integration.exec_scene import Box, box, one_line, ours, settled

__all__ = ["box"]
INSIDE = "startContainer"
SCRIPT = "#!/bin/sh\necho ran >>{}\n"


@pytest.fixture
def outside(tmp_path: pathlib.Path) -> Outside:
    return Outside(tmp_path / "outside")


@pytest.fixture(autouse=True)
def executables_stay(runtime: str) -> Iterator[None]:
    """Fail a test after which an executable of the runtime is another."""
    before = checksums(runtime)
    yield
    assert checksums(runtime) == before


def program(path: pathlib.Path, text: str, mode: int = 0o755) -> pathlib.Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def make(box: Box, kind: str, hook: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Create and start it with one hook; return what the verb says in which the hook runs."""
    box.config["hooks"] = {kind: [hook]}
    box.bundle.args("sleep", "1000")
    done = box.run("create", "--bundle", box.bundle.path, box.id)
    if kind in (INSIDE, "poststart"):
        assert done.returncode == 0, done
        done = box.run("start", box.id)
    return done


# -- what stands where the program should be

# How it is made, given its path and the file that its program would write; what is said of it, "" when it runs.
Made = Callable[[pathlib.Path, str], object]
PROGRAMS: dict[str, tuple[Made, str]] = {
    "link": (lambda path, mark: path.symlink_to(program(path.with_name("other"), SCRIPT.format(mark)).name), ""),
    "link to nothing": (lambda path, mark: path.symlink_to("nothing"), "no such file or directory"),
    "link to itself": (lambda path, mark: path.symlink_to(path.name), "too many levels of symbolic links"),
    "the init": (lambda path, mark: path.symlink_to("/proc/self/exe"), "exit status 1"),
    "interpreted by the init": (lambda path, mark: program(path, "#!/proc/self/exe\n"), "exit status 1"),
    "directory": (lambda path, mark: path.mkdir(), "permission denied"),
    "fifo": (lambda path, mark: os.mkfifo(path, 0o777), "permission denied"),
    "device": (lambda path, mark: os.mknod(path, 0o20777, os.makedev(1, 3)), "permission denied"),
    "not executable": (lambda path, mark: program(path, SCRIPT.format(mark), 0o644), "permission denied"),
    "no format": (lambda path, mark: program(path, "nothing\n"), "exec format error"),
    "empty": (lambda path, mark: program(path, ""), "exec format error"),
    "no interpreter": (lambda path, mark: program(path, "#!/nowhere\n"), "no such file or directory"),
    # who may write config.json says what runs; crun and runc run it, too
    "writable by all": (lambda path, mark: program(path, SCRIPT.format(mark), 0o777), ""),
}


@ours
@pytest.mark.parametrize(("made", "said"), PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("kind", ["prestart", "createContainer", INSIDE, "poststart"])
def test_what_is_no_program(box: Box, tmp_path: pathlib.Path, kind: str, made: Made, said: str) -> None:
    inside = kind == INSIDE
    directory = box.bundle.rootfs / "hook" if inside else tmp_path / "hook"
    directory.mkdir()
    made(directory / "hook", "/hook/mark" if inside else str(directory / "mark"))
    done = make(box, kind, {"path": "/hook/hook" if inside else str(directory / "hook")})
    if said:
        one_line(done, f"hooks.{kind}[0]")
        assert said in done.stderr.lower()
        assert box.run("state", box.id).returncode != 0, "the container is there all the same"
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert (directory / "mark").read_text() == "ran\n"


@ours
def test_a_program_that_is_written_to(box: Box, tmp_path: pathlib.Path) -> None:
    with program(tmp_path / "hook", SCRIPT.format(tmp_path / "mark")).open("a"):
        one_line(make(box, "createRuntime", {"path": str(tmp_path / "hook")}), "text file busy")


@ours  # crun 1.21 does otherwise
def test_a_link_of_the_image_does_not_lead_out(box: Box, tmp_path: pathlib.Path, outside: Outside) -> None:
    """A startContainer hook is the image's program, whatever a link of the image says."""
    program(tmp_path / "host", SCRIPT.format("/mark"))
    (box.bundle.rootfs / "hook").symlink_to("/proc/1/root" + str(tmp_path / "host"))
    done = make(box, INSIDE, {"path": "/hook"})
    assert done.returncode != 0
    assert not (box.bundle.rootfs / "mark").exists()
    outside.assert_untouched()


# -- how it behaves


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], **more}


@ours  # crun writes the state into a pipe, and now and then fails when that is closed
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_input_and_output_closed_at_once(box: Box, kind: str) -> None:
    assert make(box, kind, shell("exec 0<&- 1>&- 2>&-; exit 0")).returncode == 0


@ours  # crun waits for no hook's child, and kills none
@pytest.mark.parametrize("kind", ["prestart", "createContainer", INSIDE, "poststart"])
@pytest.mark.parametrize("end", ["exit 1", "kill -KILL $$", "sleep 1000"])
def test_children_of_a_failed_hook_go_with_it(box: Box, tmp_path: pathlib.Path, kind: str, end: str) -> None:
    """They ignore signals and hold what they were given; the leak check looks for them."""
    child = "(trap '' TERM HUP INT; sleep 1000; sleep 1000) & "
    began = time.monotonic()
    done = make(box, kind, shell(child * 3 + end, timeout=1))
    one_line(done, f"hooks.{kind}[0]")
    assert time.monotonic() - began < 3
    assert settled(lambda: not sleepers()), sleepers()


def sleepers() -> list[str]:
    """Return who sleeps for as long as the children above."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == b"sleep\x001000\0":
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@ours
def test_a_hook_that_stops_itself(box: Box) -> None:
    began = time.monotonic()
    one_line(make(box, "createRuntime", shell("kill -STOP $$", timeout=1)), "killed after 1 s")
    assert time.monotonic() - began < 3


@ours
def test_a_hook_that_kills_its_group(box: Box) -> None:
    """Its group is its own: neither the runtime nor who called it is hit."""
    done = make(box, "createRuntime", shell("kill -KILL 0"))
    one_line(done, "killed by signal 9")


@ours
@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_flood_until_the_timeout(box: Box, stream: str) -> None:
    began = time.monotonic()
    done = make(box, "createRuntime", shell(f"yes >&{stream} & yes >&{stream}", timeout=1))
    one_line(done, "killed after 1 s")
    assert time.monotonic() - began < 3
    assert len(done.stderr) < 1000


# -- where its output goes

Place = Callable[[pathlib.Path], object]
PLACES: dict[str, tuple[Place, str]] = {
    "fifo": (lambda path: os.mkfifo(path), "No such device or address"),
    "directory": (lambda path: path.mkdir(), "Is a directory"),
    "link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "below a file": (lambda path: None, "Not a directory"),
    "full device": (lambda path: path.symlink_to("/dev/full"), ""),
}


@ours  # crun waits at the FIFO for ever
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(("made", "said"), PLACES.values(), ids=PLACES)
def test_where_output_goes(box: Box, tmp_path: pathlib.Path, stream: str, made: Place, said: str) -> None:
    path = tmp_path / "output"
    made(path)
    if said == "Not a directory":
        path.write_text("")
        path /= "below"
    box.config["annotations"] = {f"run.oci.hooks.{stream}": str(path)}
    done = make(box, "createRuntime", shell("echo lost; echo lost >&2; exit 0"))
    if said:
        one_line(done, f"`{path}`: {said}")
    else:
        assert done.returncode == 0


@ours
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_to_a_fifo_that_is_read(box: Box, tmp_path: pathlib.Path, stream: str) -> None:
    """The hook gets it as if it had opened it: it waits for a reader who is slow."""
    path = tmp_path / "output"
    os.mkfifo(path)
    size = 200_000  # a pipe holds 65,536
    box.config["annotations"] = {f"run.oci.hooks.{stream}": str(path)}
    with subprocess.Popen(["sh", "-c", f"exec <{path}; sleep 0.3; wc -c"], stdout=subprocess.PIPE, text=True) as reader:
        redirect = ">&2" if stream == "stderr" else ""
        assert settled(lambda: writable(path)), "the reader"
        done = make(box, "createRuntime", shell(f"head -c {size} /dev/zero {redirect}"))
        assert (done.returncode, done.stderr) == (0, "")
        assert reader.communicate(timeout=10)[0].strip() == str(size)


def writable(path: pathlib.Path) -> bool:
    """Has somebody opened the FIFO for reading."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True

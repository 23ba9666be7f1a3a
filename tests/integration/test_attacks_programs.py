"""An image whose program, linker and libraries are an attacker's (evil.c): CVE-2016-9962, CVE-2019-5736, CVE-2017-5226.

Nothing of the image is loaded, looked up or run before the program itself: the init is static, has read what it needs,
and opens of the image the passwd file alone.

Seen red:
    it reaches for what comes in            the init left dumpable: after 1 try. As another user than root that was not
                                            red (the kernel lets nobody look at who has changed its user), so it is not tried
    it is not loaded by the init            the init linked to a C library at run time
    what is opened of the image             the init made to look for nsswitch.conf
    nothing is typed                        no session of its own; with a terminal of the container's own that was not red:
                                            then the caller's is not within reach

Never yet: it is loaded by nobody but the program, nothing is installed that gives rights.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sysconfig
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.attack_play import Joiner
from tests.integration.attack_scene import checksums, installed, lean, replace, tries
from tests.integration.conftest import Bundle, Run
from tests.integration.exec_scene import ours
from tests.integration.program_scene import with_tools

Wait = Callable[..., Any]
QUICK = "--cgroup-manager=disabled"
EVIL = pathlib.Path(__file__).resolve().parents[2] / "build/evil"


@pytest.fixture(autouse=True)
def executables_stay(runtime: str) -> Iterator[None]:
    """Fail a test after which an executable of the runtime is another."""
    before = checksums(runtime)
    yield
    assert checksums(runtime) == before


@pytest.fixture
def evil(bundle: Bundle) -> Bundle:
    """Return a bundle with the attacker's program, and no capabilities."""
    lean(bundle)
    shutil.copy(EVIL, bundle.rootfs / "evil")
    (bundle.rootfs / "tmp").chmod(0o777)
    bundle.config["process"]["capabilities"] = {"bounding": []}
    return bundle


def found(bundle: Bundle, name: str) -> list[str]:
    path = bundle.rootfs / "tmp" / name
    return path.read_text().splitlines() if path.exists() else []


# -- while others come in


@pytest.mark.race
def test_it_reaches_for_what_comes_in(
    run: Run, runtime: str, evil: Bundle, container_id: str, wait_until: Wait
) -> None:
    """It opens, attaches to and takes from whatever is called as the init, as fast as that goes."""
    run(QUICK, "run", "--detach", "--bundle", evil.args("/evil", "look").path, container_id, check=True)
    wait_until((evil.rootfs / "tmp/ready").exists, "the attacker")
    joiner = Joiner(evil, runtime, json.loads(run("state", container_id, check=True).stdout)["pid"])
    ops = joiner.ops("true")
    for number in tries(200):
        if number % 50:
            assert joiner.play(ops) == ("", None)
        else:  # with the runtime around it
            run("exec", container_id, "true", check=True)
        assert found(evil, "hits") == []
    (evil.rootfs / "tmp/over").touch()
    assert found(evil, "met"), "the attacker met nobody"


# -- instead of what is run

WAYS: dict[str, Callable[[Bundle], object]] = {
    "in the environment": lambda bundle: bundle.config["process"]["env"].append("LD_PRELOAD=/evil"),
    "as a linker's audit": lambda bundle: bundle.config["process"]["env"].append("LD_AUDIT=/evil"),
    "in /etc/ld.so.preload": lambda bundle: (bundle.rootfs / "etc/ld.so.preload").write_text("/evil\n"),
    "as the linker": lambda bundle: None,
}


@pytest.fixture
def linked(evil: Bundle, request: pytest.FixtureRequest) -> Bundle:
    """Return the bundle with a program that the image's own linker runs; all linkers are the attacker's or the host's."""
    program = pathlib.Path("/usr/bin/true")
    interpreter = re.search(rb"/lib[\w./-]*/ld-[\w.-]+", program.read_bytes())
    assert interpreter
    if request.node.callspec.params["way"] is WAYS["as the linker"]:
        place = evil.rootfs / interpreter[0].decode()[1:]
        place.parent.mkdir(parents=True)
        shutil.copy(EVIL, place)
        shutil.copy(program, evil.rootfs / "program")
    else:
        with_tools(evil)
        replace(evil.rootfs / "program", program)
    return evil


@ours  # with crun 1.21 a startContainer hook leaves another record
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("verb", ["run", "exec", "hook"])
def test_it_is_loaded_by_nobody_but_the_program(
    run: Run, linked: Bundle, container_id: str, way: Callable[[Bundle], object], verb: str
) -> None:
    way(linked)
    if verb == "run":
        linked.args("/program")
        run(QUICK, "run", "--bundle", linked.path, container_id)
    else:
        env = linked.config["process"]["env"]
        hook = {"path": "/program", "env": env}
        linked.config["hooks"] = {"startContainer": [hook]} if verb == "hook" else {}
        linked.args("sleep", "1000")
        run(QUICK, "run", "--detach", "--bundle", linked.path, container_id)
        if verb == "exec":
            run("exec", container_id, "/program")
    names, links = found(linked, "loaded")[::2], found(linked, "loaded")[1::2]
    assert {"program"} <= {*names} <= {"program", "sleep"}
    assert {*links} <= {"/program", "/usr/bin/true", "/usr/bin/sleep", "/usr/bin/coreutils"}


@ours  # crun is no static program: the image's linker loads what it likes
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_it_is_not_loaded_by_the_init_as_a_program(
    run: Run, linked: Bundle, container_id: str, way: Callable[[Bundle], object], verb: str
) -> None:
    """`/proc/self/exe` is a program without libraries (CVE-2019-5736), with every capability to help it."""
    way(linked)
    names = [f"CAP_{name}" for name in ("SYS_PTRACE", "DAC_OVERRIDE", "SYS_ADMIN")]
    linked.config["process"]["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), names)
    if verb == "run":
        run(QUICK, "run", "--bundle", linked.args("/proc/self/exe").path, container_id)
    else:
        run(QUICK, "run", "--detach", "--bundle", linked.args("sleep", "1000").path, container_id, check=True)
        run("exec", container_id, "/proc/self/exe")
    assert {*found(linked, "loaded")[::2]} <= {"sleep"}


# -- what the init opens


OPENS = ("open", "openat", "openat2", "execve", "readlink", "readlinkat", "stat", "newfstatat", "statx", "access")


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_what_is_opened_of_the_image(
    run: Run, runtime: str, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, verb: str
) -> None:
    """A trap where any interpreter, linker or name service would look: nobody comes."""
    lean(bundle)
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    traps = [path for path in library.rglob("*.py") if len(path.relative_to(library).parts) < 3]
    assert len(traps) > 300
    for name in ("nsswitch.conf", "ld.so.preload", "ld.so.cache", "localtime", "host.conf", "resolv.conf"):
        traps.append(pathlib.Path("/etc") / name)
    for path in traps:
        place = bundle.rootfs / str(path)[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(place)  # whoever opened it would wait for ever
    (bundle.rootfs / "etc/group").unlink()
    os.mkfifo(bundle.rootfs / "etc/group")
    log = tmp_path / "strace"
    trace = ["strace", "-f", "-qq", "-s", "300", "-o", str(log), "-e", f"trace={','.join(OPENS)},pivot_root,setns"]
    command: list[Any] = [*trace, runtime, QUICK, "run", "--bundle", bundle.args("true").path, container_id]
    if verb == "exec":
        run(QUICK, "run", "--detach", "--bundle", bundle.args("sleep", "1000").path, container_id, check=True)
        command = [*trace, runtime, "exec", container_id, "true"]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=60)
    entered, opened = False, set()
    for line in log.read_text().splitlines():
        pid, _, call = line.partition(" ")
        if entered is False and ("pivot_root(" in call or ("setns(" in call and "= 0" in call)):
            entered = True
            inside = pid
        elif entered and (verb == "exec" or pid == inside):
            opened |= {text for text in re.findall(r'"([^"]*)"', call.partition("=")[0]) if text[:1] == "/"}
    assert entered
    ours = {name for name in opened if not name.startswith(("/proc", "/sys/fs/cgroup", "/run/pyoci", "/dev"))}
    assert {path for path in ours if path.rpartition("/")[2] not in ("true", "busybox")} <= {"/", "/etc/passwd"}


# -- the terminal of who calls us


@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_typed_into_the_callers_terminal(
    run: Run, runtime: str, evil: Bundle, container_id: str, verb: str, terminal: bool
) -> None:
    """Also with the number of the ioctl in a word of 64 bits (CVE-2017-5226, CVE-2019-10063)."""
    master, slave = os.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    evil.config["process"]["terminal"] = terminal and verb == "run"
    if verb == "run":
        command: list[Any] = [runtime, QUICK, "run", "--bundle", evil.args("/evil", "push").path, container_id]
    else:
        run(QUICK, "run", "--detach", "--bundle", evil.args("sleep", "1000").path, container_id, check=True)
        command = [runtime, "exec", *(["--tty"] if terminal else []), container_id, "/evil", "push"]
    # the caller leads a session whose terminal this is
    script = "import fcntl, os, subprocess, sys, termios\nos.setsid()\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\nsys.exit(subprocess.call(sys.argv[1:]))"
    try:
        subprocess.run(["python3", "-c", script, *command], stdin=slave, stdout=slave, stderr=slave, timeout=20)
        os.set_blocking(slave, False)
        with pytest.raises(BlockingIOError):
            os.read(slave, 16)
    finally:
        os.close(master)
        os.close(slave)


# -- what is installed


def test_nothing_is_installed_that_gives_rights(runtime: str) -> None:
    """No file that sets a user or group id, or brings capabilities, and none that others may write."""
    library = pathlib.Path(runtime).parents[1] / "lib/pyoci"
    files = [path for path in [*installed(runtime)[1:], *library.rglob("*")] if not path.is_symlink()]
    assert len(files) > 40
    for path in files:
        assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID | 0o022), path
        assert "security.capability" not in os.listxattr(path), path

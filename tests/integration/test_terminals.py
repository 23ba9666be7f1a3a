"""Terminals: handed over by --console-socket as conmon wants it, or relayed to our own; and pidfds, handed over likewise.

What crun 1.21 does otherwise is skipped for it (`ours`).
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.exec_scene import OURS, Box, alive, box, one_line, ours, settled

__all__ = ["box"]

PROCESS: dict[str, Any] = {"cwd": "/", "terminal": True, "env": ["PATH=/bin", "HOME=/"], "user": {"uid": 0, "gid": 0}}


class Receiver:
    """Somebody who listens for a descriptor, as conmon and containerd's shim do."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.socket.settimeout(10)

    def receive(self) -> int:
        """Return the one descriptor that came."""
        peer, _ = self.socket.accept()
        with peer:
            peer.settimeout(10)
            text, control, _, _ = peer.recvmsg(256, socket.CMSG_SPACE(64))
            [(level, kind, data)] = control
            assert (level, kind, len(data)) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, 4) and text
            [fd] = array.array("i", data)
            return fd


class Screen:
    """One side of a terminal: what is shown on it is collected."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.shown = b""

    def expect(self, words: bytes, seconds: float = 10.0) -> bytes:
        """Read until `words` have been shown; return all that was."""
        deadline = time.monotonic() + seconds
        while words not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"waited for {words!r}, got {self.shown[-300:]!r}"
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            assert data, f"the terminal was closed; waited for {words!r}, got {self.shown[-300:]!r}"
            self.shown += data
        return self.shown

    def rest(self) -> bytes:
        """Read to the end."""
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 65536):
                self.shown += data
        return self.shown

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@pytest.fixture
def receiver(tmp_path: pathlib.Path) -> Iterator[Receiver]:
    """Return somebody who listens."""
    one = Receiver(tmp_path / "socket")
    yield one
    one.socket.close()


@contextlib.contextmanager
def screen_of(fd: int) -> Iterator[Screen]:
    try:
        yield Screen(fd)
    finally:
        os.close(fd)


def terminal(box: Box, script: str, size: tuple[int, int] | None = None) -> None:
    """Make the container run a script on a terminal."""
    box.config["process"]["terminal"] = True
    if size:
        box.config["process"]["consoleSize"] = {"height": size[0], "width": size[1]}
    box.bundle.sh(script)


def begin(box: Box, verb: str, script: str, receiver: Receiver, size: tuple[int, int] | None = None) -> int:
    """Have a script run on a terminal that is handed over; return it."""
    words = ["--console-socket", str(receiver.path)]
    if verb == "exec":
        box.up()
        process = {**PROCESS, "args": ["sh", "-c", script]}
        if size:
            process["consoleSize"] = {"height": size[0], "width": size[1]}
        path = box.bundle.path / "process.json"
        path.write_text(json.dumps(process))
        box.exec("--detach", *words, "--process", path, "--", check=True)
    else:
        terminal(box, script, size)
        options = ["--detach"] if verb == "run" else []
        box.run(verb, *options, *words, "--bundle", box.bundle.path, box.id, check=True)
    fd = receiver.receive()
    if verb == "create":
        box.run("start", box.id, check=True)
    return fd


VERBS = pytest.mark.parametrize("verb", ["create", "run", "exec"])


# -- handed over


@VERBS
def test_it_is_the_programs_own(box: Box, receiver: Receiver, verb: str) -> None:
    # sh reads what is typed; the terminal is its session's, and all three descriptors are the terminal
    script = "for n in 0 1 2; do readlink /proc/$$/fd/$n; done; tty; echo here >/dev/tty; read x; echo got $x; read y"
    with screen_of(begin(box, verb, script, receiver)) as screen:
        screen.expect(b"here")
        names = screen.shown.split()
        assert len(set(names[:4])) == 1 and names[0].startswith(b"/dev/pts/"), names
        screen.type(b"word\r")
        screen.expect(b"got word\r\n")
        screen.type(b"\r")
        screen.rest()


@VERBS
def test_its_size_is_the_one_of_the_config(box: Box, receiver: Receiver, verb: str) -> None:
    if not OURS:
        pytest.skip("crun sets the size of another terminal")
    with screen_of(begin(box, verb, "stty size; read x", receiver, (33, 121))) as screen:
        screen.expect(b"33 121\r\n")
        screen.type(b"\r")
        screen.rest()


@VERBS
def test_keys_become_signals_and_a_size_is_told(box: Box, receiver: Receiver, verb: str) -> None:
    script = "trap 'echo interrupted' INT; trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    with screen_of(begin(box, verb, script, receiver)) as screen:
        screen.expect(b"ready")
        screen.type(b"\x03")
        screen.expect(b"interrupted")
        screen.size(41, 99)
        screen.expect(b"41 99")


@VERBS
def test_hang_up(box: Box, receiver: Receiver, verb: str) -> None:
    mark = box.bundle.rootfs / "tmp/mark"
    script = "trap 'echo gone >/tmp/mark; exit' HUP; echo ready; while :; do sleep 0.05; done"
    with screen_of(begin(box, verb, script, receiver)) as screen:
        screen.expect(b"ready")
    assert settled(mark.exists, 5)


def test_the_console_is_in_dev(box: Box, receiver: Receiver) -> None:
    script = "ls -l /dev/console; echo by console >/dev/console; read x"
    with screen_of(begin(box, "create", script, receiver)) as screen:
        assert b"136," in screen.expect(b"by console")


def test_a_user_owns_it(box: Box, receiver: Receiver) -> None:
    box.config["process"]["user"] = {"uid": 7, "gid": 7}
    with screen_of(begin(box, "create", "stat -c '%u %a' $(tty); echo >$(tty) opened; read x", receiver)) as screen:
        assert b"7 620" in screen.expect(b"opened")


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_nobody_listens(box: Box, tmp_path: pathlib.Path, verb: str) -> None:
    socket_path = str(tmp_path / "absent")
    if verb == "exec":
        box.up()
        (tmp_path / "p").write_text(json.dumps({**PROCESS, "args": ["sleep", "1000"]}))
        done = box.exec("--detach", "--console-socket", socket_path, "--process", tmp_path / "p", "--")
        assert settled(lambda: box.processes() == [box.pid])
    else:
        terminal(box, "sleep 1000")
        done = box.run("create", "--console-socket", socket_path, "--bundle", box.bundle.path, box.id)
    one_line(done, socket_path if OURS else "")


@ours
def test_a_terminal_and_nobody_at_its_other_end(box: Box, tmp_path: pathlib.Path, receiver: Receiver) -> None:
    box.up()
    one_line(box.exec("--detach", "--tty", "--", "true"), "--console-socket")
    one_line(box.exec("--detach", "--console-socket", receiver.path, "--", "true"), "--console-socket")
    one_line(box.exec("--tty=false", "--console-socket", receiver.path, "--", "true"), "--console-socket")
    assert box.exec("--tty=false", "--", "tty").stdout == "not a tty\n"


# -- relayed


class Desk:
    """A person's terminal with the runtime in front."""

    def __init__(self, box: Box, *words: str, size: tuple[int, int] = (40, 100), stdout: Any = None) -> None:
        master, self.slave = os.openpty()
        self.screen = Screen(master)
        self.screen.size(*size)
        self.before = termios.tcgetattr(self.slave)
        self.flags = fcntl.fcntl(self.slave, fcntl.F_GETFL)
        out = self.slave if stdout is None else stdout
        self.command = subprocess.Popen(
            [box.runtime, *words], stdin=self.slave, stdout=out, stderr=self.slave, start_new_session=True
        )

    @property
    def raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def ends(self, status: int, seconds: float = 10.0) -> None:
        """See how it ends, and that the terminal is as it was."""
        deadline = time.monotonic() + seconds
        while self.command.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            if select.select([self.screen.fd], [], [], 0.02)[0]:
                self.screen.shown += os.read(self.screen.fd, 65536)
        while select.select([self.screen.fd], [], [], 0)[0]:
            self.screen.shown += os.read(self.screen.fd, 65536)
        assert self.command.returncode == status, self.screen.shown[-300:]
        assert termios.tcgetattr(self.slave) == self.before

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        if self.command.poll() is None:
            self.command.kill()
        self.command.wait()
        os.close(self.slave)
        os.close(self.screen.fd)


RELAYED = pytest.mark.parametrize("verb", ["run", "exec"])


def desk(box: Box, verb: str, script: str, **how: Any) -> Desk:
    """Sit down at a script that runs on a terminal of ours."""
    if verb == "exec":
        box.up()
        return Desk(box, "exec", "--tty", box.id, "sh", "-c", script, **how)
    terminal(box, script)
    return Desk(box, "run", "--bundle", str(box.bundle.path), box.id, **how)


@RELAYED
def test_keys_and_words(box: Box, verb: str) -> None:
    with desk(box, verb, "tty; read x; echo got $x; exit 5") as it:
        it.screen.expect(b"/dev/")
        assert settled(lambda: it.raw)
        it.screen.type(b"word\r")
        it.ends(5)
        # echoed once: by the container's terminal, ours being raw
        assert it.screen.shown.count(b"word") == 2 and b"got word\r\n" in it.screen.shown


@RELAYED
@pytest.mark.parametrize("attempt", range(5))
def test_the_size_is_ours_from_the_beginning(box: Box, verb: str, attempt: int) -> None:
    if not OURS and verb == "exec":
        pytest.skip("crun gives it its size a little later")
    with desk(box, verb, "stty size") as it:
        it.ends(0)
        assert b"40 100\r\n" in it.screen.shown


@RELAYED
def test_a_new_size_is_passed_on(box: Box, verb: str) -> None:
    with desk(box, verb, "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done") as it:
        it.screen.expect(b"ready")
        assert settled(lambda: it.raw)
        it.screen.size(50, 132)
        it.command.send_signal(signal.SIGWINCH)  # it is not in the session of the terminal
        it.screen.expect(b"50 132")
        it.command.send_signal(signal.SIGKILL)


@RELAYED
@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143)])  # fmt: skip
def test_it_is_left_as_it_was(box: Box, verb: str, script: str, code: int) -> None:
    if "$$" in script and verb == "run":
        script = f"sh -c '{script}'; exit $?"
    with desk(box, verb, f"stty size >/dev/null; {script}") as it:
        it.ends(code)


@RELAYED
def test_it_blocks_as_it_did(box: Box, verb: str) -> None:
    with desk(box, verb, "true") as it:
        it.ends(0)
        assert fcntl.fcntl(it.slave, fcntl.F_GETFL) == it.flags


@RELAYED
@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_it_is_left_as_it_was_after_a_signal(box: Box, verb: str, name: str) -> None:
    with desk(box, verb, f"trap 'exit 4' {name}; echo ready; while :; do sleep 0.05; done") as it:
        it.screen.expect(b"ready")
        assert settled(lambda: it.raw)
        it.command.send_signal(getattr(signal, f"SIG{name}"))
        it.ends(4)


@RELAYED
def test_ctrl_c_is_the_programs(box: Box, verb: str) -> None:
    with desk(box, verb, "trap 'exit 6' INT; echo ready; while :; do sleep 0.05; done") as it:
        it.screen.expect(b"ready")
        assert settled(lambda: it.raw)
        it.screen.type(b"\x03")
        it.ends(6)


@RELAYED
def test_it_is_left_as_it_was_when_the_container_is_deleted(box: Box, verb: str) -> None:
    with desk(box, verb, "echo ready; sleep 1000") as it:
        it.screen.expect(b"ready")
        assert settled(lambda: it.raw)
        box.run("delete", "--force", box.id, check=True)
        it.ends(137)


@RELAYED
def test_what_cannot_be_executed(box: Box, verb: str) -> None:
    if verb == "exec":
        box.up()
        words = ["exec", "--tty", box.id, "/absent"]
    else:
        box.config["process"]["terminal"] = True
        box.bundle.args("/absent")
        words = ["run", "--bundle", str(box.bundle.path), box.id]
    with Desk(box, *words) as it:
        it.ends(1)
        assert b"/absent" in it.screen.shown


@RELAYED
def test_much_output(box: Box, verb: str) -> None:
    with desk(box, verb, "stty -opost; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo the end") as it:
        # what was written reaches the other side of a terminal a little later than select(2) would have it
        it.screen.expect(b"the end", 20)
        it.ends(0)
        assert it.screen.shown.count(b"x") == 1_000_000 and b"the end" in it.screen.shown


@RELAYED
def test_a_reader_that_stalls(box: Box, verb: str) -> None:
    script = (
        "trap 'exit 8' TERM; head -c 300000 /dev/zero | tr '\\0' x & wait; echo; echo all; while :; do sleep 0.05; done"
    )
    with desk(box, verb, script) as it:
        assert settled(lambda: it.raw)
        time.sleep(0.5)  # nobody reads: it waits, and still listens
        assert it.command.poll() is None
        it.screen.expect(b"all", 20)
        assert it.screen.shown.count(b"x") == 300_000
        it.command.terminate()
        it.ends(8)


@RELAYED
def test_output_to_a_pipe(box: Box, verb: str) -> None:
    reading, writing = os.pipe()
    with desk(box, verb, "stty size; echo to the pipe", stdout=writing) as it:
        os.close(writing)
        with open(reading, "rb") as pipe:
            said = pipe.read()
        it.ends(0)
    assert said == b"40 100\r\nto the pipe\r\n"


def test_input_that_is_no_terminal(box: Box) -> None:
    box.up()
    with box.popen(
        "--tty", "--", "sh", "-c", "read x; echo got $x", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as inside:
        out, _ = inside.communicate(b"word\n", timeout=10)
    assert (inside.returncode, b"got word" in out) == (0, True)


def test_an_orphan_that_keeps_the_terminal(box: Box) -> None:
    # its standard output stays open: the exec ends with its own process
    with desk(box, "exec", "trap '' HUP; sleep 1000 & echo ready") as it:
        it.ends(0)
        assert b"ready" in it.screen.shown


# -- pidfds


def pid_of(pidfd: int) -> int:
    lines = pathlib.Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


@VERBS
@ours  # crun has no --pidfd-socket
def test_a_pidfd_is_handed_over(box: Box, receiver: Receiver, tmp_path: pathlib.Path, verb: str) -> None:
    words = ["--pidfd-socket", str(receiver.path), "--pid-file", str(tmp_path / "pid")]
    if verb == "exec":
        box.up()
        box.exec("--detach", *words, "--", "sleep", "1000", check=True)
    else:
        box.bundle.args("sleep", "1000")
        box.run(verb, *(["--detach"] if verb == "run" else []), *words, "--bundle", box.bundle.path, box.id, check=True)
    fd = receiver.receive()
    try:
        pid = int((tmp_path / "pid").read_text())
        assert pid_of(fd) == pid and alive(pid)
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        assert settled(lambda: not alive(pid))
    finally:
        os.close(fd)


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_pidfd_by_annotation(box: Box, receiver: Receiver, verb: str) -> None:
    box.config["annotations"] = {"run.oci.pidfd_receiver": str(receiver.path)}
    box.bundle.args("sleep", "1000")
    box.run(verb, *(["--detach"] if verb == "run" else []), "--bundle", box.bundle.path, box.id, check=True)
    fd = receiver.receive()
    assert pid_of(fd) == box.pid
    os.close(fd)


@ours
@VERBS
def test_nobody_wants_the_pidfd(box: Box, tmp_path: pathlib.Path, verb: str) -> None:
    words = ["--pidfd-socket", str(tmp_path / "absent"), "--pid-file", str(tmp_path / "pid")]
    if verb == "exec":
        box.up()
        done = box.exec("--detach", *words, "--", "sleep", "1000")
        assert settled(lambda: box.processes() == [box.pid])
    else:
        box.bundle.args("sleep", "1000")
        done = box.run(verb, *words, "--bundle", box.bundle.path, box.id)
        assert box.run("state", box.id).returncode == 1
    one_line(done, str(tmp_path / "absent"))
    assert not (tmp_path / "pid").exists()

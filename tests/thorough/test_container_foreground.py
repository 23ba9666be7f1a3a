"""`run` in the foreground, on real terminals: ours (outside), and the container's (inside) with a program on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

PATIENCE = 10.0
MARK = b"\x1e"
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-SBm", "tests.thorough.foreground_child"]


def winsize(rows: int, columns: int) -> bytes:
    return struct.pack("=HHHH", rows, columns, 0, 0)


class Outside:
    """Our terminal: `master` is where a person sits; what they see gathers in `seen`."""

    def __init__(self) -> None:
        self.master, self.terminal = os.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, winsize(33, 101))
        self.before = self.mode()
        self.seen = b""
        self.process: subprocess.Popen[bytes]

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.terminal)

    def is_raw(self) -> bool:
        return not self.mode()[3] & (termios.ECHO | termios.ICANON | termios.ISIG)

    def run(self, *program: str, **how: Any) -> None:
        """Run a program; our terminal is what is not given otherwise, and ours to control."""

        def control() -> None:
            os.setsid()
            fcntl.ioctl(self.terminal, termios.TIOCSCTTY, 0)
            # a shell cannot trap what was ignored before it, as for a job in the background
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)

        streams = {"stdin": self.terminal, "stdout": self.terminal, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(
            [*COMMAND, *program], **{"cwd": CHECKOUT, "preexec_fn": control, **streams, **how}
        )

    def sh(self, script: str, **how: Any) -> None:
        self.run("sh", "-c", script, **how)

    def look(self, seconds: float = 0.05) -> bytes:
        """Read what there is to see."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                break
            seconds = 0
        return self.seen

    def see(self, text: bytes) -> None:
        """Wait until this is seen."""
        until(lambda: text in self.look(), lambda: f"{text!r} in {self.seen[-300:]!r}")

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def status(self) -> int:
        """Wait for the end, looking on, and return the exit status; our terminal must be as it was."""
        until(lambda: (self.look(), self.process.poll() is not None)[1], lambda: f"the end; seen: {self.seen[-300:]!r}")
        assert self.mode() == self.before
        # the kernel hands a terminal's output on when it has the time: what comes before this mark is all there was
        os.write(self.terminal, MARK)
        self.see(MARK)
        self.seen = self.seen.replace(MARK, b"")
        return self.process.returncode


def until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:g} s for {what()}")
        time.sleep(0.005)


@pytest.fixture
def outside() -> Iterator[Outside]:
    one = Outside()
    try:
        yield one
    finally:
        with contextlib.suppress(AttributeError):
            one.process.kill()
            one.process.wait()
        os.close(one.master)
        os.close(one.terminal)


# -- what the program has


def test_program_has_a_terminal_of_our_size_and_its_status_is_ours(outside: Outside) -> None:
    outside.sh("test -t 0 && test -t 1 && test -t 2 && stty size; exit 7")
    assert outside.status() == 7
    assert outside.seen == b"33 101\r\n"


def test_size_follows_ours(outside: Outside) -> None:
    outside.sh('trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.02; done')
    outside.see(b"ready")
    fcntl.ioctl(outside.master, termios.TIOCSWINSZ, winsize(50, 132))
    assert outside.status() == 0
    assert outside.seen == b"ready\r\n50 132\r\n"


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill -34 $$", 162)]
)
def test_status(script: str, status: int, outside: Outside) -> None:
    outside.sh(script)
    assert outside.status() == status


def test_status_without_a_terminal(outside: Outside) -> None:
    outside.run("-", "sh", "-c", "exit 3")
    assert outside.status() == 3


# -- keys


def test_keys_go_inside_as_they_are_typed(outside: Outside) -> None:
    outside.sh("stty raw -echo; echo ready; exec od -An -tx1 -w16 -N12")
    outside.see(b"ready")
    assert outside.is_raw()
    outside.type(b"\r\n\x03\x04\x1a\x1c\x7f\x11\x13\xc3\xa9a")
    assert outside.status() == 0
    assert outside.seen.split() == b"ready 0d 0a 03 04 1a 1c 7f 11 13 c3 a9 61".split()


@pytest.mark.parametrize(("key", "name"), [(b"\x03", "INT"), (b"\x1c", "QUIT"), (b"\x1a", "TSTP")])
def test_control_keys_are_signals_inside(key: bytes, name: str, outside: Outside) -> None:
    outside.sh(f'trap "echo got {name}; exit 9" {name}; echo ready; while :; do sleep 0.02; done')
    outside.see(b"ready")
    outside.type(key)
    assert outside.status() == 9
    assert f"got {name}".encode() in outside.seen


def test_ctrl_z_stops_a_job_inside_and_not_us(outside: Outside) -> None:
    outside.run("bash", "--norc", "--noprofile", "-i")
    outside.type(b"sleep 60 & fg\r")
    outside.see(b"sleep 60\r\n")
    # `fg` says what it runs before the terminal is the job's: a key until then is the shell's, which ignores it

    def stopped() -> bool:
        outside.type(b"\x1a")
        return b"Stopped" in outside.look(0.2)

    until(stopped, lambda: f"a stop in {outside.seen!r}")
    outside.type(b"kill -9 %1; exec sh -c 'exit 4'\r")
    assert outside.status() == 4


def test_end_of_input_is_told_as_a_key(outside: Outside) -> None:
    """A terminal has no end: whoever reads it would wait for ever."""
    for text in (b"", b"one\n", b"one\ntwo"):
        outside.run("cat", stdin=subprocess.PIPE)
        assert outside.process.stdin
        outside.process.stdin.write(text)
        outside.process.stdin.close()
        outside.seen = b""
        assert outside.status() == 0
        lines = text.decode().split("\n")
        # once by the echo of the terminal, once by cat
        assert all(outside.seen.decode().count(line) == 2 for line in lines if line)


def test_end_of_input_is_no_key_to_a_program_that_reads_bytes(outside: Outside) -> None:
    outside.sh("stty raw -echo; echo ready; od -An -tx1 -N3; exit 0", stdin=subprocess.PIPE)
    outside.see(b"ready")
    assert outside.process.stdin
    outside.process.stdin.write(b"ab")
    outside.process.stdin.close()
    time.sleep(0.1)
    assert outside.process.poll() is None
    outside.process.terminate()
    assert outside.status() == 128 + signal.SIGTERM


def test_more_input_than_is_read(outside: Outside) -> None:
    outside.sh("sleep 0.2; exit 3", stdin=subprocess.PIPE)
    assert outside.process.stdin
    os.set_blocking(outside.process.stdin.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(outside.process.stdin.fileno(), b"x" * 4096)
    assert outside.status() == 3


# -- what is seen


def test_nothing_is_lost_to_a_reader_that_is_slow(outside: Outside) -> None:
    outside.run("seq", "40000")
    while outside.process.poll() is None:
        time.sleep(0.002)
        outside.seen += os.read(outside.master, 5000)
    assert outside.status() == 0
    assert outside.seen.split() == [b"%d" % number for number in range(1, 40001)]


def test_a_reader_that_stalls_holds_neither_signals_nor_the_end(outside: Outside) -> None:
    outside.sh('trap "exit 9" TERM; yes 2>/dev/null & while :; do sleep 0.02; done')
    until(lambda: select.select([outside.master], [], [], 0)[0], lambda: "output")
    time.sleep(0.2)  # by now every buffer on the way is full
    outside.process.terminate()
    children = pathlib.Path(f"/proc/{outside.process.pid}/task/{outside.process.pid}/children")
    until(lambda: not children.read_text(), lambda: "the end of the program")
    time.sleep(0.1)
    # it has ended, and what it said last waits for a reader; whoever signals again does not want to see it
    assert outside.process.poll() is None
    outside.process.terminate()
    outside.process.wait(PATIENCE)
    assert outside.process.returncode == 9
    assert outside.mode() == outside.before


def test_a_reader_that_is_gone(outside: Outside) -> None:
    """The program goes on: its output has nobody to go to, and a signal that is about our own output is not for it."""
    reading, writing = os.pipe()
    outside.sh('trap "exit 5" PIPE; for i in 1 2 3 4 5; do echo $i; sleep 0.02; done; exit 6', stdout=writing)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    assert outside.status() == 6


def test_output_to_a_file_goes_where_the_file_stands(outside: Outside, tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        file.write(b"before\n")
        file.flush()
        outside.sh("echo inside", stdout=file)
        assert outside.status() == 0
    assert (tmp_path / "log").read_bytes() == b"before\ninside\r\n"


def test_a_program_that_closes_its_terminal_and_opens_it_again(outside: Outside) -> None:
    outside.sh("exec 3</dev/tty <&- >&- 2>&- 3<&-; sleep 0.1; echo again >/dev/tty; read line </dev/tty; exit $line")
    outside.see(b"again")
    outside.type(b"12\r")
    assert outside.status() == 12


# -- what is ours and others'


def test_no_stream_of_ours_is_made_non_blocking_for_others(outside: Outside) -> None:
    reading, writing = os.pipe()
    outside.sh("echo ready; sleep 60", stdin=reading)
    outside.see(b"ready")
    for fd in (reading, outside.terminal):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    outside.process.terminate()
    assert outside.status() == 128 + signal.SIGTERM
    os.close(reading)
    os.close(writing)


def test_a_socket_is_left_as_it_was(outside: Outside) -> None:
    ours, theirs = socket.socketpair()
    outside.sh("echo ready; read line; exit $line", stdin=theirs, stdout=theirs)
    assert ours.recv(5) == b"ready"
    ours.send(b"3\n")
    assert outside.status() == 3
    assert theirs.getblocking() and not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
    ours.close()
    theirs.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_terminal_is_as_it_was_after_a_signal_to_us(number: signal.Signals, outside: Outside) -> None:
    outside.sh("echo ready; sleep 60 & wait")
    outside.see(b"ready")
    assert outside.is_raw()
    outside.process.send_signal(number)
    assert outside.status() == 128 + number


def test_terminal_that_hangs_up(outside: Outside) -> None:
    outside.sh('trap "exit 8" HUP; echo ready; while :; do sleep 0.02; done')
    outside.see(b"ready")
    master, outside.master = outside.master, os.open("/dev/null", os.O_RDWR)
    os.close(master)
    outside.process.wait(PATIENCE)
    assert outside.process.returncode == 8


def test_stopped_and_continued(outside: Outside) -> None:
    """Whoever has stopped us has used the terminal meanwhile: it becomes raw again, and at the end what it was."""
    outside.sh("echo ready; read line; exit $line")
    outside.see(b"ready")
    outside.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, outside.process.pid, os.WSTOPPED | os.WNOWAIT)
    termios.tcsetattr(outside.terminal, termios.TCSANOW, outside.before)
    outside.process.send_signal(signal.SIGCONT)
    until(outside.is_raw, lambda: "a raw terminal")
    outside.type(b"11\r")
    assert outside.status() == 11


def test_in_the_background(outside: Outside) -> None:
    """The terminal is somebody else's: it is written to, neither read nor changed, and nobody spins."""

    def behind() -> None:
        os.setsid()
        fcntl.ioctl(outside.terminal, termios.TIOCSCTTY, 0)
        if os.fork():
            os.close(0)
            os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
        os.setpgid(0, 0)

    outside.sh("echo ready; sleep 0.3; exit 3", preexec_fn=behind)
    outside.see(b"ready")
    assert outside.mode() == outside.before
    outside.type(b"for the shell\n")
    used = os.times().children_user + os.times().children_system
    assert outside.status() == 3
    assert os.times().children_user + os.times().children_system - used < 0.25
    assert os.read(outside.terminal, 100) == b"for the shell\n"


def test_every_signal_is_passed_on_that_is_not_about_us(outside: Outside) -> None:
    script = (
        "import os, signal, time\n"
        "def got(number, frame): os.write(1, b'%d\\n' % number)\n"
        "for number in sorted(signal.valid_signals() - {9, 17, 19}): signal.signal(number, got)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(1)\n"
    )
    outside.run("-", sys.executable, "-ISc", script)
    outside.see(b"ready")
    ours = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU}
    for number in sorted({int(number) for number in signal.valid_signals()} - {int(number) for number in ours}):
        outside.seen = b""
        outside.process.send_signal(number)
        outside.see(b"%d\r\n" % number)
    for about_us in (signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD):
        outside.process.send_signal(about_us)
    outside.seen = b""
    outside.process.send_signal(signal.SIGUSR1)
    outside.see(b"10\r\n")
    assert outside.seen == b"10\r\n"

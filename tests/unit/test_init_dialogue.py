"""Our side of the dialogue with the init, with an init of our own making at the other end; and one that is real."""

from __future__ import annotations

import array
import errno
import os
import pathlib
import signal
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from pyoci_systemd.errors import Error
from pyoci_systemd.init import dialogue
from pyoci_systemd.init.dialogue import CONSOLE, ERROR, GATE, PID, Init, Reply
from pyoci_systemd.plan import ops
from tests.unit.player import BUILD, execute, listed


def message(kind: int, index: int = 0, error: int = 0, value: int = 0) -> bytes:
    return struct.pack("=IIixxxxq", kind, index, error, value)


@pytest.fixture
def pair() -> Iterator[tuple[Init, socket.socket]]:
    """An init as the runtime has it, and the end at which the init would be."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    yield Init(ours, 0), theirs
    ours.close()
    theirs.close()


def failed(reply: Reply) -> Error:
    return Error(f"op {reply.index}: {os.strerror(reply.error)}")


def test_message(pair: tuple[Init, socket.socket]) -> None:
    init, theirs = pair
    theirs.send(message(PID, 3, 0, 4711) + message(ERROR, 2**32 - 1, errno.ENOENT, -1))
    assert init.receive() == Reply(PID, 3, 0, 4711)
    assert init.receive() == Reply(ERROR, 2**32 - 1, errno.ENOENT, -1)
    theirs.close()
    assert init.receive() is None


def test_the_child_speaks_before_its_parent(pair: tuple[Init, socket.socket]) -> None:
    """Two processes have one channel: what the child says is kept, in order, until the parent has told its pid."""
    init, theirs = pair
    theirs.send(message(CONSOLE) + message(GATE, 7, 0, 1) + message(PID, 1, 0, 4711))
    init.pid = init.expect(PID, failed).value
    assert init.pid == 4711
    assert init.expect(CONSOLE, failed).kind == CONSOLE
    assert init.expect(GATE, failed, 1) == Reply(GATE, 7, 0, 1)
    theirs.send(message(GATE, 8, 0, 2))
    assert init.expect(GATE, failed, 2).index == 8


def test_message_in_pieces(pair: tuple[Init, socket.socket]) -> None:
    init, theirs = pair
    whole = message(GATE, 1, 0, 1)

    def slowly() -> None:
        for byte in whole:
            theirs.send(bytes([byte]))

    sending = threading.Thread(target=slowly)
    sending.start()
    assert init.receive() == Reply(GATE, 1, 0, 1)
    sending.join()
    theirs.send(whole[:20])
    theirs.close()
    assert init.receive() is None


def test_descriptor_comes_with_its_message_and_is_ours_alone(pair: tuple[Init, socket.socket]) -> None:
    init, theirs = pair
    reading, writing = os.pipe()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writing]))]
    theirs.sendmsg([message(CONSOLE)], rights)
    os.close(writing)
    reply = init.expect(CONSOLE, failed)
    assert not os.get_inheritable(reply.fd)
    os.write(reply.fd, b"x")
    assert os.read(reading, 1) == b"x"
    os.close(reply.fd)
    os.close(reading)


def test_what_was_not_expected(pair: tuple[Init, socket.socket]) -> None:
    init, theirs = pair
    theirs.send(message(GATE, 0, 0, 1) + message(PID) + message(ERROR, 5, errno.ENOENT))
    with pytest.raises(Error, match=r"^the container's init said 2/1 instead of 2/0$"):
        init.expect(GATE, failed, 0)
    with pytest.raises(Error, match=r"^the container's init said 1/0 instead of 4/None$"):
        init.expect(CONSOLE, failed)
    with pytest.raises(Error, match=r"^op 5: No such file or directory$"):
        init.expect(GATE, failed)
    theirs.close()
    with pytest.raises(Error, match=r"^the container's init died$"):
        init.expect(GATE, failed)


def test_death_with_something_unread(pair: tuple[Init, socket.socket]) -> None:
    """The kernel answers ECONNRESET then: its last words are read all the same, and no error is another's."""
    init, theirs = pair
    init.let_through()
    theirs.send(message(ERROR, 1, errno.EPERM))
    theirs.close()
    init.let_through()  # nobody is there any more: that is found out at the next message
    with pytest.raises(Error, match="op 1: Operation not permitted|the container's init died"):
        init.expect(GATE, failed)
    with pytest.raises(Error, match=r"^the container's init died$"):
        init.expect(GATE, failed)


def test_one_that_does_not_answer(pair: tuple[Init, socket.socket]) -> None:
    init, _ = pair
    init.channel.settimeout(0.01)
    with pytest.raises(Error, match=r"^the container's init did not answer within 60 s$"):
        init.expect(GATE, failed)


def test_last_words(pair: tuple[Init, socket.socket]) -> None:
    init, theirs = pair
    theirs.send(message(GATE) + message(ERROR, 4, errno.EIO))
    assert init.last_words() is None
    assert init.last_words() == Reply(ERROR, 4, errno.EIO, 0)
    theirs.close()
    assert init.last_words() is None


# -- a real one


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "PROGRAM", str(BUILD / "pyoci-init"))


def children() -> list[int]:
    return [int(pid) for pid in pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_spawned_and_abandoned(program: None) -> None:
    before, fds = children(), os.listdir("/proc/self/fd")
    init = Init.spawn(listed(ops.Await(0)), 0)
    assert init.expect(GATE, failed, 0) == Reply(GATE, 0, 0, 0)
    name = pathlib.Path(f"/proc/{init.first}/comm").read_text()
    assert name == "pyoci-init\n"
    init.abandon()
    init.abandon()
    assert (children(), os.listdir("/proc/self/fd")) == (before, fds)


def test_a_long_list_of_ops(program: None) -> None:
    init = Init.spawn(listed(*[ops.Umask(0)] * 100_000, ops.Await(1)), 0)
    assert init.expect(GATE, failed, 1).index == 100_000
    init.abandon()


def test_first_process_is_collected(program: None) -> None:
    before = children()
    init = Init.spawn(listed(ops.Clone(0, -1), ops.Await(0), *execute("true")), 0)
    init.pid = init.expect(PID, failed).value
    init.reap_first()
    init.reap_first()
    assert init.first == 0
    assert init.expect(GATE, failed, 0).value == 0
    init.let_through()
    assert init.receive() is None
    assert os.waitstatus_to_exitcode(os.waitpid(init.pid, dialogue.WALL)[1]) == 0
    init.pid = 0
    init.abandon()
    assert children() == before


@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$", "exec sleep 60"])
def test_an_init_that_dies_at_once_is_no_failure_of_ours(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the ops can still be sent or not: what is told is that it died."""
    monkeypatch.setattr(dialogue, "sealed", lambda path: os.open("/bin/sh", os.O_RDONLY | os.O_CLOEXEC))
    spawn = os.posix_spawn

    def first_dead(path: str, argv: list[str], env: dict[str, str], file_actions: object) -> int:
        pid = spawn(path, ["sh", "-c", script], env)
        if script != "exec sleep 60":
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        else:
            os.kill(pid, signal.SIGKILL)
        return pid

    monkeypatch.setattr("posix.posix_spawn", first_dead)
    before = children()
    init = Init.spawn(bytes(8) + bytes(1 << 20), 0)
    with pytest.raises(Error, match=r"^the container's init died$"):
        init.expect(PID, failed)
    init.abandon()
    assert children() == before


def test_sealed_program_cannot_be_changed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\n")
    fd = dialogue.sealed(str(tmp_path / "program"))
    assert os.pread(fd, 100, 0) == b"#!/bin/sh\n"
    for change in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 1 << 20)):
        with pytest.raises(PermissionError):
            change()
    assert os.fstat(fd).st_mode & 0o111
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_program_is_the_one_beside_us() -> None:
    beside = pathlib.Path(dialogue.__file__).parent / "pyoci-init"
    assert str(beside) == dialogue.PROGRAM

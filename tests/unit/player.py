"""Drives the init as the runtime does, over a socket pair: build/init-asan, which a sanitizer watches.

`Player(message)` starts it; `replies()` reads what it says, `end()` waits for it and checks that no sanitizer spoke.
Whoever is root gives that up first: op lists under test may say anything. `PRIVATE` gives the init namespaces in
which it may mount.
"""

from __future__ import annotations

import array
import contextlib
import functools
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from pyoci_systemd.init.wire import encode
from pyoci_systemd.plan import ops

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"
INIT = BUILD / "init-asan"
PATIENCE = 5.0
NOBODY = 65534
PID, GATE, ERROR, CONSOLE = 1, 2, 3, 4
WALL = 0x40000000

USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")
MOUNT_NAMESPACE = ("unshare", "--mount", "--propagation", "private")


class Reply(NamedTuple):
    kind: int
    index: int  # type: ignore[assignment]
    error: int
    value: int


class Ended(NamedTuple):
    status: int
    output: bytes


@functools.cache
def private() -> tuple[str, ...]:
    """Return the command that gives namespaces to mount in, without touching the machine; skip where there is none."""
    for command in (USER_NAMESPACE, MOUNT_NAMESPACE):
        done = subprocess.run([*command, "true"], capture_output=True, timeout=PATIENCE)
        if done.returncode == 0:
            return command
    pytest.skip("neither a user namespace nor root: nothing can be mounted")


def listed(*wanted: ops.Op) -> bytes:
    """Return a message of ops."""
    return encode(wanted)


def execute(*argv: str, env: Sequence[str] = ()) -> list[ops.Op]:
    """Return the ops that end a list with a program of the machine's."""
    return [ops.FindExecutable(argv[0], "/usr/bin:/bin"), ops.Execute(list(argv), list(env))]


class Player:
    """A running init.

    `wrap` is a command to run it by, `preserve` its second argument, `inherit` what it inherits besides the channel,
    `start` the socket that is sent with the message, `given` the descriptors that are sent after it.
    """

    def __init__(
        self,
        message: bytes,
        *,
        wrap: Sequence[str] = (),
        preserve: int = 0,
        start: socket.socket | None = None,
        given: Sequence[int] = (),
        inherit: Sequence[int] = (),
        program: pathlib.Path = INIT,
    ) -> None:
        assert program.exists(), f"`{program}` is missing: `make build/init-asan`"
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(PATIENCE)
        # opened here: whoever is nobody may not be able to reach the checkout
        image = os.open(program, os.O_RDONLY)
        drop: dict[str, Any] = {}
        if os.geteuid() == 0 and not wrap:
            drop = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        try:
            self.process = subprocess.Popen(
                [*wrap, f"/proc/self/fd/{image}", str(theirs.fileno()), str(preserve)],
                pass_fds=[theirs.fileno(), image, *inherit],
                env={"ASAN_OPTIONS": "detect_leaks=0:exitcode=99", "PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                **drop,
            )
        finally:
            os.close(image)
            theirs.close()
        with contextlib.suppress(BrokenPipeError):  # it has its reasons, and says them
            self.send(message, [*([start.fileno()] if start else []), *given])

    def send(self, message: bytes, given: Sequence[int] = ()) -> None:
        """Send a message, the head with the descriptors as the runtime does."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))] if given else []
        if message:
            self.channel.sendmsg([message[:8]], rights)
            self.channel.sendall(message[8:])

    def let_through(self) -> None:
        self.channel.send(b"g")

    def finish_sending(self) -> None:
        self.channel.shutdown(socket.SHUT_WR)

    def receive(self) -> Reply | None:
        """Return the next reply, None at the end of file."""
        try:
            data = self.channel.recv(24, socket.MSG_WAITALL)
        except ConnectionResetError:  # it has left something unread
            return None
        assert len(data) in (0, 24)
        return Reply(*struct.unpack("=IIixxxxq", data)) if data else None

    def replies(self) -> list[Reply]:
        """Return all that it says until its end, or until its program runs."""
        return list(iter(self.receive, None))

    def end(self, *, silent: bool = True) -> Ended:
        """Wait for the end of the init or its program. What a sanitizer says fails the test, if it is to be `silent`."""
        try:
            output, errors = self.process.communicate(timeout=PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.channel.close()
        assert not (silent and errors), errors.decode(errors="replace")
        return Ended(self.process.returncode, output)


def play(*wanted: ops.Op, **how: Any) -> tuple[list[Reply], Ended]:
    """Play ops to their end: every gate is opened at once. Return the replies and how it ended."""
    player = Player(listed(*wanted), **how)
    replies = []
    while reply := player.receive():
        replies.append(reply)
        if reply.kind == GATE:
            player.let_through()
    return replies, player.end()


def reap(pid: int) -> int:
    """Collect a child, however it was cloned; return its exit status as waitstatus_to_exitcode() has it."""
    deadline = time.monotonic() + PATIENCE
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        fd = -1
    if fd >= 0:
        select.select([fd], [], [], max(0, deadline - time.monotonic()))
        os.close(fd)
    got, status = os.waitpid(pid, os.WNOHANG | WALL)
    if not got:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, WALL)
        pytest.fail(f"process {pid} did not end")
    return os.waitstatus_to_exitcode(status)

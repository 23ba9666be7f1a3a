"""What the tests of seccomp share: profiles, and an agent that answers for a filter."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from tests.integration.conftest import Bundle

# linux/seccomp.h
RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
SIGSYS = 31


class Agent:
    """Who answers for a filter: it listens, takes one state with one descriptor, and answers every call."""

    def __init__(self, path: str, answer: Callable[[int], int]) -> None:
        self.answer = answer
        self.states: list[dict[str, Any]] = []
        self.first_fds: list[int] = []
        self.asked: list[int] = []
        self.failure: list[BaseException] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(4)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            watched = [self._stop, self._socket.fileno()]
            while True:
                ready, _, _ = select.select(watched, [], [], 20)
                if not ready or self._stop in ready:
                    return
                for fd in ready:
                    if fd == self._socket.fileno():
                        watched.append(self._welcome())
                    elif not self._reply(fd):
                        watched.remove(fd)
        except BaseException as error:
            self.failure.append(error)

    def _welcome(self) -> int:
        """Take one connection: one state, whole, whose descriptors come with its first byte; then its end."""
        peer, _ = self._socket.accept()
        with peer:
            peer.settimeout(5)
            text, control, _, _ = peer.recvmsg(1 << 16, socket.CMSG_SPACE(4 * 8))
            fds = array.array("i")
            for level, kind, data in control:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                fds.frombytes(data)
            assert len(fds) == 1, fds
            while more := peer.recv(1 << 16):
                text += more
        self.states.append(json.loads(text))
        self.first_fds.append(fds[0])
        return fds[0]

    def _reply(self, fd: int) -> bool:
        """Answer one call, false when nobody is left who could make one."""
        events = select.poll()
        events.register(fd, select.POLLIN)
        if events.poll(0)[0][1] & select.POLLHUP:
            return False
        question = bytearray(80)
        with contextlib.suppress(FileNotFoundError):  # who asked has died meanwhile
            fcntl.ioctl(fd, RECEIVE, question)
            number = struct.unpack_from("=i", question, 16)[0]
            self.asked.append(number)
            error = self.answer(number)
            response = struct.pack("=QqiI", *struct.unpack_from("=Q", question), 0, -error, 0 if error else CONTINUE)
            fcntl.ioctl(fd, SEND, bytearray(response))
        return True

    def close(self) -> None:
        """End it, and raise what went wrong."""
        os.write(self._stopped, b"x")
        self._thread.join(10)
        for fd in (self._stop, self._stopped, *self.first_fds):
            os.close(fd)
        self._socket.close()
        if self.failure:
            raise self.failure[0]


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


def filtered(bundle: Bundle, *rules: dict[str, Any], default: str = "ALLOW", **more: Any) -> Bundle:
    bundle.config["linux"]["seccomp"] = {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **more}
    return bundle


MKDIR = {83, 258}  # x86_64: mkdir, mkdirat
REFUSED = errno.ENOMEDIUM
SAID = "mkdir: can't create directory '/new': No medium found\n"


def refuse_mkdir(number: int) -> int:
    return REFUSED if number in MKDIR else 0

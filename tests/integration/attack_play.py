"""Plays the plan of a bundle with the installed init, up to its last gate: a tenth of what a create costs.

What races with the init meets the same ops in the same order as in a create; the runtime around it adds nothing but
time. Where the mounts are is read from the outside, while the container waits at the gate.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import time
import unittest.mock
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from pyoci_systemd.container import idmaps, probe
from pyoci_systemd.container.entry import door
from pyoci_systemd.init import dialogue
from pyoci_systemd.init.copyup import OWNER, copy_up
from pyoci_systemd.init.dialogue import COPY_UP
from pyoci_systemd.init.wire import encode
from pyoci_systemd.plan import entry
from pyoci_systemd.plan import plan as planning
from pyoci_systemd.plan.facts import Request
from pyoci_systemd.plan.ops import Op
from pyoci_systemd.plan.words import MAPPED_GATE, STATE_GATE
from pyoci_systemd.spec.load import load
from tests.integration.conftest import Bundle
from tests.unit.player import CONSOLE, ERROR, GATE, PATIENCE, PID, WALL, Player, Reply, reap


def init_of(runtime: str) -> pathlib.Path:
    """Return the installed init."""
    path = pathlib.Path(runtime).parents[1] / "lib/pyoci/pyoci_systemd/init/pyoci-init"
    if os.path.basename(runtime) != "pyoci":
        pytest.skip("about the init of pyoci")
    return path


class Mounted(NamedTuple):
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    number: int
    parent: int
    root: str
    place: str
    options: list[str]
    type: str


class Waiting:
    """A container at its last gate, or what became of it instead."""

    def __init__(self, player: Player, uid_map: str = "", gid_map: str = "") -> None:
        self.player = player
        self.maps = uid_map, gid_map
        self.pid = 0
        self.error = 0
        self.failed = -1
        self.master = -1

    def mounts(self) -> list[Mounted]:
        """Return what is mounted in the container."""
        result = []
        for line in pathlib.Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines():
            words = line.split()
            kind = words[words.index("-") + 1]
            result.append(Mounted(int(words[0]), int(words[1]), words[3], words[4], words[5].split(","), kind))
        return result

    def receive(self) -> Reply | None:
        data, control, _, _ = self.player.channel.recvmsg(24, socket.CMSG_SPACE(8))
        sent = array.array("i", control[0][2]) if control else array.array("i")
        reply = Reply(*struct.unpack("=IIixxxxq", data)) if data else None
        if reply and reply.kind == COPY_UP:
            covered, tree = sent
            try:
                copy_up(covered, tree, bool(reply.value & OWNER))
            except OSError as error:
                self.failed, self.error = reply.index, error.errno or 0
            finally:
                os.close(covered)
                os.close(tree)
        elif sent:
            [self.master] = sent
        return reply

    def arrive(self) -> None:
        """Take it to its last gate."""
        at_the_gate = False
        while not (at_the_gate and self.pid) and (reply := self.receive()):
            if reply.kind == PID:  # perhaps after the first gate: two processes speak
                self.pid = reply.value
            elif reply.kind == ERROR:
                self.failed, self.error = reply.index, reply.error
            elif reply.kind == GATE and reply.value == STATE_GATE:
                at_the_gate = True
            else:
                assert reply.kind in (GATE, CONSOLE, COPY_UP)
                if reply.kind == GATE and reply.value == MAPPED_GATE:
                    idmaps.write(self.player.process.pid, *self.maps)
                if reply.kind != CONSOLE:
                    self.player.let_through()

    def run(self) -> str:
        """Let it run its program, and return what that wrote."""
        self.player.let_through()
        return self.player.end().output.decode()


class Stage:
    """A bundle's plan, made once."""

    def __init__(self, bundle: Bundle, runtime: str, **facts: object) -> None:
        """Make the plan; `facts` are what is to be believed of the machine."""
        self.init = init_of(runtime)
        request = Request(id="played", bundle=str(bundle.path), manager="disabled", wait_for_start=False)
        config = load(json.dumps(bundle.config).encode())
        known = probe.facts(config, str(bundle.path))
        for name, value in facts.items():
            setattr(known, name, value)
        self.plan = planning.make(config, known, request)
        self.message = encode(self.plan.ops)

    @contextlib.contextmanager
    def play(self) -> Iterator[Waiting]:
        """Perform the ops. Nothing of the container is left afterwards."""
        with unittest.mock.patch.object(dialogue, "PROGRAM", str(self.init)):
            given = idmaps.namespaces(self.plan.mappings)
        # `env`: the player makes nobody of who is root, unless there is a command to run it by
        player = Player(self.message, wrap=("/usr/bin/env",), program=self.init, given=given)
        for fd in given:
            os.close(fd)
        waiting = Waiting(player, self.plan.uid_map, self.plan.gid_map)
        try:
            waiting.arrive()
            yield waiting
        finally:
            if waiting.master >= 0:
                os.close(waiting.master)
            if waiting.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(waiting.pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    reap(waiting.pid)
            waiting.player.end()


class Joiner:
    """Who enters a running container, without the runtime around it."""

    def __init__(self, bundle: Bundle, runtime: str, pid: int, **facts: object) -> None:
        """`facts` are what is to be believed of the machine."""
        self.init = init_of(runtime)
        self.pid = pid
        self.door = door(pid, "")
        self.config = load(json.dumps(bundle.config).encode())
        self.facts = probe.facts(self.config)
        for name, value in facts.items():
            setattr(self.facts, name, value)

    def ops(self, *args: str, **asked: object) -> list[Op]:
        """Return the ops for a program; `asked` are other members of its process."""
        process: Any = {**self.config["process"], **asked, "args": list(args)}
        return entry.plan(process, self.config, self.facts, self.door, b"", 0)[0]

    def play(self, ops: list[Op], inherit: Sequence[int] = ()) -> tuple[str, Reply | None]:
        """Perform them, to the end of the program; return what that wrote, or what has failed."""
        target = os.pidfd_open(self.pid)
        player = Player(encode(ops), wrap=("/usr/bin/env",), program=self.init, given=[target], inherit=inherit)
        os.close(target)
        failed, pid = None, 0
        while reply := player.receive():
            if reply.kind == PID:
                pid = reply.value
            elif reply.kind == ERROR:
                failed = reply
            else:
                player.let_through()
        output = player.end(silent=False).output.decode()
        deadline = time.monotonic() + PATIENCE
        # whoever traces the program is told of its end before us
        while pid and not os.waitpid(pid, os.WNOHANG | WALL)[0]:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return output, failed

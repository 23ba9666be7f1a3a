"""A container of a user's from verb to verb, on terminals too, and what her own systemctl says of it meanwhile.

Seen red:
    every verb      pause by the cgroup alone
    terminals       the terminal of `run` and `exec` not made the controlling one
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.integration.conftest import Container
from tests.integration.rootless_scene import User, alice, everywhere, hers
from tests.integration.service_scene import ours
from tests.integration.test_terminal import Person
from tests.integration.test_terminals import Receiver, screen_of

__all__ = ["alice", "hers"]
pytestmark = ours

LOOP = "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"


@everywhere
def test_every_verb(where: str, alice: User, hers: Container, wait_until: Callable[..., Any]) -> None:
    unit = f"pyoci-{hers.name}.scope"

    def status() -> str:
        return alice.systemctl("status", "--lines=0", "--full", unit)

    hers.create(LOOP)
    pid = hers.state()["pid"]
    assert hers.state()["status"] == "created"
    assert f"─{pid} " in status() and "Active: active (running)" in status()
    hers.start()
    assert hers.state()["status"] == "running"
    assert f"─{pid} sh -c " in status()

    assert alice.run("exec", hers.name, "id", "-u", check=True).stdout == "0\n"
    alice.run("exec", "--detach", hers.name, "sleep", "999", check=True)
    wait_until(lambda: " sleep 999" in status(), "who joined to be there")
    [listed] = json.loads(alice.run("list", "--format=json", check=True).stdout)
    assert (listed["id"], listed["status"], listed["owner"]) == (hers.name, "running", "alice")

    alice.run("pause", hers.name, check=True)
    assert (hers.state()["status"], alice.shows(unit, "FreezerState")) == ("paused", "frozen")
    assert "(frozen)" in status()
    alice.run("resume", hers.name, check=True)
    assert (hers.state()["status"], alice.shows(unit, "FreezerState")) == ("running", "running")

    updated = alice.run("update", "--memory=64m", "--pids-limit=40", hers.name)
    if {"memory", "pids"} <= {*alice.controllers}:
        assert updated.returncode == 0, updated
        scope = pathlib.Path("/sys/fs/cgroup" + alice.shows(unit, "ControlGroup"))
        limits = [((scope / below / "memory.max").read_text(), (scope / below / "pids.max").read_text())
                  for below in ("", "container")]  # fmt: skip
        assert limits == [(f"{64 << 20}\n", "40\n")] * 2
        assert (alice.shows(unit, "MemoryMax"), alice.shows(unit, "TasksMax")) == (str(64 << 20), "40")
    else:
        assert updated.returncode == 1 and "the memory controller is not available in `" in updated.stderr

    alice.run("kill", hers.name, "TERM", check=True)
    wait_until(lambda: hers.state()["status"] == "stopped", "its end")
    alice.run("delete", hers.name, check=True)
    assert alice.shows(unit, "LoadState") == "not-found"
    assert alice.run("list", "--quiet", check=True).stdout == ""


@contextlib.contextmanager
def at_a_terminal(user: User, container: Container) -> Iterator[Person]:
    """Have the user sit at a terminal of her own."""
    person = Person(user.runtime, container.bundle, container.name)
    person.command = [*user.prefix(), *person.command]
    os.chown(os.ttyname(person.terminal), user.uid, -1)
    try:
        yield person
    finally:
        person.leave()


@everywhere
def test_terminals(where: str, alice: User, hers: Container) -> None:
    """`run -t` and `exec -t` on a terminal of hers, and one that is handed over by `create`."""
    script = "stty size; tty; echo ours >/dev/tty; exit 42"
    with at_a_terminal(alice, hers) as person:
        person.run(script)
        assert person.status() == 42
        assert person.seen == b"33 101\r\n/dev/pts/0\r\nours\r\n"

    hers.config["process"]["terminal"] = True
    receiver = Receiver(alice.home / "console")
    receiver.path.chmod(0o666)
    try:
        hers.create("tty; read line; echo got $line; exec sleep 1000", "--console-socket", receiver.path)
        with screen_of(receiver.receive()) as screen:
            hers.start()
            screen.expect(b"/dev/pts/0\r\n")
            screen.type(b"a line\n")
            screen.expect(b"got a line\r\n")
            with at_a_terminal(alice, hers) as person:
                person.command = [*alice.prefix(), alice.runtime, "exec", "--tty", hers.name, "sh", "-c", script]
                person.sit()
                assert person.status() == 42
                assert person.seen == b"33 101\r\n/dev/pts/1\r\nours\r\n"
    finally:
        receiver.socket.close()
        receiver.path.unlink()
        hers.delete()

"""What systemd does not know: it refuses it once; the next container does not ask, until systemd is another one."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd import log
from pyoci_systemd.container import learned, scope, store
from pyoci_systemd.errors import BusError
from pyoci_systemd.systemd import manager
from tests.unit.test_bus import Peer, answer, error, played, soon
from tests.unit.test_bus_manager import UNIT, removed

PROPERTIES: list[Any] = [("PIDs", "au", [7]), ("New", "s", "x"), ("Description", "s", "d"), ("Newer", "b", True)]
OLD, NEXT = "252.39-1~deb12u2", "257.9-1~deb13u1"


class Systemd:
    """A systemd of a version that does not know some properties; `heard` is what was asked of it."""

    def __init__(self, version: str, *unknown: str) -> None:
        self.version, self.unknown = version, unknown
        self.heard: list[str] = []

    def __call__(self, peer: Peer) -> None:
        peer.greet()
        while (call := peer.call()).member != "End":
            if call.member in ("StartTransientUnit", "SetUnitProperties"):
                names = [name for name, _ in call.values()[2]]
                self.heard.append(" ".join([call.member, *names]))
                refused = [name for name in names if name in self.unknown]
                if refused:
                    text = f"Cannot set property {refused[0]}, or unknown property."
                    peer.sock.sendall(error(call.serial, manager.READ_ONLY, text))
                elif call.member == "SetUnitProperties":
                    peer.sock.sendall(answer(call.serial))
                else:
                    peer.sock.sendall(answer(call.serial, "o", "/job/1") + removed("/job/1", "done", ":1.0"))
            elif call.member == "Get":
                self.heard.append(str(call.values()[1]))
                peer.sock.sendall(answer(call.serial, "v", ("s", self.version)))


def asked(systemd: Systemd, do: Callable[[Any], object]) -> list[str]:
    """Return what systemd hears when something is done with a bus."""
    systemd.heard = []
    with played(systemd) as bus:
        bus.greet(soon())
        try:
            do(bus)
        finally:
            bus.send("org.a", "/", "org.a", "End", deadline=soon())
    return systemd.heard


def start(systemd: Systemd, root: pathlib.Path, properties: list[Any] = PROPERTIES) -> list[str]:
    return asked(systemd, lambda bus: scope.start(bus, UNIT, properties, soon(), str(root)))


ALL = "StartTransientUnit PIDs New Description Newer"
FEWER = ["StartTransientUnit PIDs Description Newer", "StartTransientUnit PIDs Description"]


def test_nothing_is_learned_where_nothing_is_refused(tmp_path: pathlib.Path) -> None:
    assert start(Systemd(NEXT), tmp_path) == [ALL]
    assert list(tmp_path.iterdir()) == []


def test_it_is_refused_once(tmp_path: pathlib.Path) -> None:
    systemd = Systemd(OLD, "New", "Newer")
    assert start(systemd, tmp_path) == [ALL, *FEWER, "Version"]
    assert (tmp_path / store.LEARNED).read_text() == f"systemd {OLD}\nNew\nNewer\nend\n"
    assert start(systemd, tmp_path) == ["Version", FEWER[1]]
    # a container that does not ask for it is not slowed down by so much as a question
    assert start(systemd, tmp_path, [("PIDs", "au", [7])]) == ["StartTransientUnit PIDs"]


def test_an_upgrade_forgets(tmp_path: pathlib.Path) -> None:
    start(Systemd(OLD, "New", "Newer"), tmp_path)
    upgraded = Systemd(NEXT, "Newer")
    assert start(upgraded, tmp_path) == ["Version", ALL, "StartTransientUnit PIDs New Description", "Version"]
    assert (tmp_path / store.LEARNED).read_text() == f"systemd {NEXT}\nNewer\nend\n"


def test_more_is_learned(tmp_path: pathlib.Path) -> None:
    start(Systemd(OLD, "Newer"), tmp_path)
    start(Systemd(OLD, "New", "Newer"), tmp_path)
    assert learned.refused(str(tmp_path), OLD) == {"New", "Newer"}
    assert learned.refused(str(tmp_path), NEXT) == set()


def test_a_debug_message_names_it(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    systemd = Systemd(OLD, "New")
    log.use(log.Log("", "text", "debug"))
    try:
        start(systemd, tmp_path)
        first = capfd.readouterr().err
        start(systemd, tmp_path)
        second = capfd.readouterr().err
    finally:
        log.use(log.Log("", "text", "error"))
    assert "this systemd does not know the property `New`" in first
    assert "this systemd does not know the properties `New`" in second


@pytest.mark.parametrize("name", manager.NEEDED)
def test_what_no_container_can_do_without_is_never_left_out(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(BusError, match=f"Cannot set property {name}, or unknown property"):
        start(Systemd(OLD, name), tmp_path, [(name, "s", "x")])
    assert list(tmp_path.iterdir()) == []


def test_a_systemd_that_refuses_all(tmp_path: pathlib.Path) -> None:
    names = [f"P{number}" for number in range(40)]
    with pytest.raises(Exception, match="^systemd refuses too many properties of `a.scope`$"):
        start(Systemd(OLD, *names), tmp_path, [(name, "s", "x") for name in names])


def test_a_change_learns_nothing(tmp_path: pathlib.Path) -> None:
    """OOMPolicy is for the start alone: refused here, it is not unknown there."""
    left: list[Any] = []
    systemd = Systemd(NEXT, "New")
    heard = asked(systemd, lambda bus: left.extend(scope.change(bus, UNIT, PROPERTIES[1:3], soon())))
    assert heard == ["SetUnitProperties New Description", "SetUnitProperties Description"]
    assert left == [PROPERTIES[2]]
    assert asked(systemd, lambda bus: scope.change(bus, UNIT, PROPERTIES[1:2], soon())) == ["SetUnitProperties New"]


def test_a_root_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    assert start(Systemd(OLD, "New"), tmp_path / "none")[-1] == "Version"


GOOD = f"systemd {OLD}\nNew\nend\n"
BAD = [
    "",
    "\n",
    "systemd",
    GOOD[:-1],
    GOOD[:-4],
    GOOD[: GOOD.index("w")],
    GOOD + "x",
    GOOD.replace("systemd ", ""),
    GOOD.replace("New", "New\n"),
    GOOD.replace("New", "../New"),
    GOOD.replace("New", "Né"),
    *(GOOD.replace("New", name) for name in manager.NEEDED),
    GOOD.replace("New", "\n".join(f"N{number}" for number in range(33))),
    GOOD.replace("New", "N" * 5000),
]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_torn_or_strange_file_has_taught_nothing(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / store.LEARNED).write_bytes(text.encode())
    assert learned.read(str(tmp_path)) == ("", frozenset())
    assert start(Systemd(OLD), tmp_path) == [ALL]


def test_the_good_one(tmp_path: pathlib.Path) -> None:
    """Or the strange ones would prove nothing."""
    (tmp_path / store.LEARNED).write_text(GOOD)
    assert learned.read(str(tmp_path)) == (OLD, frozenset({"New"}))


def test_whose_file_it_is(tmp_path: pathlib.Path) -> None:
    path = tmp_path / store.LEARNED
    path.write_text(GOOD)
    path.chmod(0o622)
    assert learned.read(str(tmp_path)) == ("", frozenset())
    path.chmod(0o600)
    path.rename(tmp_path / "other")
    path.symlink_to("other")
    assert learned.read(str(tmp_path)) == ("", frozenset())
    path.unlink()
    os.mkfifo(path)
    assert learned.read(str(tmp_path)) == ("", frozenset())
    path.unlink()
    path.mkdir()
    assert learned.read(str(tmp_path)) == ("", frozenset())
    if os.geteuid() == 0:
        path.rmdir()
        path.write_text(GOOD)
        os.chown(path, 65534, 65534)
        assert learned.read(str(tmp_path)) == ("", frozenset())

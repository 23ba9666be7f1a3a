"""What is asked of systemd-machined, by a scripted bus; and what is made of its answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci_systemd import log
from pyoci_systemd.container import machine, scope
from pyoci_systemd.container.store import Known
from pyoci_systemd.errors import BusError, Error
from pyoci_systemd.plan.machine import Machine
from pyoci_systemd.systemd import machined, manager
from pyoci_systemd.systemd.bus import Bus
from tests.unit.test_bus import Peer, answer, error, played, soon

PATH = f"{machined.ROOT}/machine/web"
UNKNOWN = "org.freedesktop.DBus.Error.UnknownObject"
NONE: tuple[str, Any] = ("GetMachine", machined.NO_SUCH_MACHINE)
FREE: tuple[str, Any] = ("GetMachineByPID", machined.NO_MACHINE_OF_PID)
REGISTERED: tuple[str, Any] = ("RegisterMachineWithNetwork", ("o", PATH))
LOST: tuple[str, Any] = ("RegisterMachineWithNetwork", manager.LOST)
BY_PID: tuple[str, Any] = ("GetMachineByPID", ("o", PATH))
FORGOTTEN: tuple[str, Any] = ("UnregisterMachine", ("",))
THERE: tuple[str, Any] = ("GetMachine", ("o", PATH))
# no process has this pid
GONE = 1 << 22


def entry(
    leader: int = 7, unit: str = "a.scope", service: str = "pyoci", root: str = "/r", name: str = "web"
) -> tuple[str, Any]:
    said = {"Name": name, "Service": service, "Leader": leader, "Unit": unit, "RootDirectory": root}
    return "GetAll", ("a{sv}", {key: ("u" if key == "Leader" else "s", value) for key, value in said.items()})


def play(peer: Peer, turns: list[tuple[str, Any]], calls: list[tuple[Any, ...]]) -> None:
    """Expect the methods of `turns` in order and give their answers, or the errors of these names."""
    peer.greet()
    for expected, told in turns:
        call = peer.call()
        assert call.member == expected
        calls.append(call.values())
        peer.sock.sendall(error(call.serial, told, "Text.") if isinstance(told, str) else answer(call.serial, *told))


@contextlib.contextmanager
def told(turns: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """Have the bus of the machine play `turns`; yield what it is asked."""
    calls: list[tuple[Any, ...]] = []
    with played(lambda peer: play(peer, turns, calls)) as bus:

        def connect() -> Bus:
            bus.greet(soon())
            return bus

        monkeypatch.setattr(scope, "connect", connect)
        yield calls


def known(**changes: Any) -> Known:
    fields = {"rootfs": "/r", "manager": "systemd", "unit": "a.scope", "machine": "web", "pid": 7, **changes}
    return Known(**{"id": "c1", "bundle": "/b", "created": "", "owner": "", **fields})


# -- the calls


@pytest.mark.parametrize(("turns", "found"), [
    ([NONE], None),
    ([THERE, ("GetAll", UNKNOWN)], None),  # it went between the two
    ([THERE, entry()], machined.Machine("web", "pyoci", 7, "a.scope", "/r")),
])  # fmt: skip
def test_find(turns: list[tuple[str, Any]], found: machined.Machine | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with told(turns, monkeypatch), scope.connect() as bus:
        assert machined.find(bus, "web", deadline=soon()) == found


def test_unregister_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with told([("UnregisterMachine", machined.NO_SUCH_MACHINE)], monkeypatch), scope.connect() as bus:
        machined.unregister(bus, "web", deadline=soon())
    turns = [("UnregisterMachine", "org.x.Other")]
    with told(turns, monkeypatch), scope.connect() as bus, pytest.raises(BusError):
        machined.unregister(bus, "web", deadline=soon())


# -- registered


@pytest.mark.parametrize(("uuid", "sent"), [("", b""), ("00ff" * 8, b"\x00\xff" * 8)])
def test_what_is_registered(uuid: str, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with told([FREE, REGISTERED], monkeypatch) as calls:
        machine.register(Machine("web", uuid), known())
    assert calls == [(7,), ("web", sent, "pyoci", "container", 7, "/r", [])]


@pytest.mark.parametrize(("turns", "done"), [
    ([FREE, LOST, FREE, REGISTERED], True),
    ([FREE, LOST, BY_PID, entry()], True),  # it had been done
    ([FREE, LOST, BY_PID, entry(name="other")], False),
    ([("GetMachineByPID", manager.LOST), FREE, REGISTERED], True),
])  # fmt: skip
def test_an_answer_that_is_lost(turns: list[tuple[str, Any]], done: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with told(turns, monkeypatch) as calls, contextlib.nullcontext() if done else pytest.raises(Error, match="Text"):
        machine.register(Machine("web"), known())
    assert len(calls) == len(turns)


def test_a_root_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be said on the bus, and is for show alone."""
    with told([FREE, REGISTERED], monkeypatch) as calls:
        machine.register(Machine("web"), known(rootfs="/\udcff"))
    assert calls[1][5] == ""


@pytest.mark.parametrize(("turns", "message"), [
    # a unit is never named to machined twice: it would stop it
    ([BY_PID, entry()], "`a.scope` is the machine `web` already"),
    ([FREE, ("RegisterMachineWithNetwork", machined.EXISTS)], "machine `web` already exists"),
    ([("GetMachineByPID", machined.ABSENT[0])], "machine `web`: there is no systemd-machined"),
    ([FREE, ("RegisterMachineWithNetwork", "org.x.Other")], "machine `web`: Text"),
])  # fmt: skip
def test_refused(turns: list[tuple[str, Any]], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_rootless", lambda: False)
    with told(turns, monkeypatch), pytest.raises(Error) as caught:
        machine.register(Machine("web"), known())
    assert caught.value.message == message


@pytest.mark.parametrize(("name", "rootless", "hint"), [
    (machined.ABSENT[0], False, "apt install systemd-container"),
    (machined.ABSENT[1], True, "do without `--machine`"),
    (machined.MASKED, False, "`systemctl unmask systemd-machined`"),
    (machined.EXISTS, True, "`machinectl status web`"),
    ("timeout", False, "`systemctl status systemd-machined`"),
])  # fmt: skip
def test_the_remedy(name: str, rootless: bool, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_rootless", lambda: rootless)
    refused = machine.explained("web", BusError(name, "text"))
    assert refused.hint.startswith(hint)
    assert ("259" in refused.message) == (rootless and name in machined.ABSENT)


CGROUPS = "/sys/fs/cgroup"


@pytest.mark.parametrize(("path", "unit"), [
    ("/system.slice/web.service", ""),
    ("/system.slice/system-pyoci.slice/pyoci@web.service", ""),
    ("/web.scope", ""),
    ("/system.slice/web.service/sub", "web.service"),
    ("/user.slice/user-0.slice/user@0.service/app.slice/web.service", "user@0.service"),
    ("/user.slice/user-0.slice", "-.slice"),
    ("/init.scope/a.scope", "init.scope"),
    ("/plain", "plain"),
    ("", "-.slice"),
])  # fmt: skip
def test_a_unit_of_its_own(path: str, unit: str) -> None:
    """machined goes by the outermost unit, and would stop the whole of it."""
    if not unit:
        machine.require_own(f"{CGROUPS}{path}")
        return
    with pytest.raises(Error) as caught:
        machine.require_own(f"{CGROUPS}{path}")
    assert f"the whole of `{unit}`" in caught.value.message


# -- forgotten


@pytest.mark.parametrize(("found", "state", "ours"), [
    ({}, {}, True),
    ({"leader": 8}, {}, False),
    ({"unit": "b.scope"}, {}, False),
    ({"service": "systemd-nspawn"}, {}, False),
    ({"unit": "a.service"}, {"unit": ""}, True),  # in a service, whose name is not remembered
    ({"leader": 8}, {"unit": ""}, False),
    # of one whose create was killed: by its place, if nothing lives there
    ({"leader": GONE}, {"pid": 0}, True),
    ({"leader": GONE}, {"pid": 0, "unit": ""}, True),
    ({"leader": GONE, "root": "/other"}, {"pid": 0, "unit": ""}, False),
    ({"leader": 1}, {"pid": 0, "unit": ""}, False),
], ids=str)  # fmt: skip
def test_whose_it_is(found: dict[str, Any], state: dict[str, Any], ours: bool) -> None:
    said = {"name": "web", "service": "pyoci", "leader": 7, "unit": "a.scope", "root": "/r", **found}
    assert machine.is_of(machined.Machine(**said), known(**state)) == ours


@pytest.mark.parametrize(("unit", "turns"), [
    ("a.scope", [NONE]),
    ("a.scope", [THERE, entry(), THERE, entry(), NONE]),  # it has not heard yet that the scope is gone
    ("a.scope", [THERE, entry(leader=8)]),  # another's by now
    ("a.scope", [THERE, entry(), THERE, entry(leader=8)]),
    ("", [THERE, entry(unit="a.service"), FORGOTTEN]),  # the service lives on
    ("", [THERE, entry(unit="b.service", leader=8)]),
])  # fmt: skip
def test_forgotten(unit: str, turns: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    with told(turns, monkeypatch) as calls:
        machine.forget(known(unit=unit))
    assert len(calls) == len(turns)


def test_one_that_does_not_go_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systemd has not told machined of: it is told by us, after a while."""
    monkeypatch.setattr(machine, "NOTICE", 0.0)
    with told([THERE, entry(), FORGOTTEN], monkeypatch) as calls:
        machine.forget(known())
    assert calls[-1] == ("web",)


@pytest.mark.parametrize(("name", "warns"), [(machined.ABSENT[0], False), (machined.MASKED, False), ("org.x.Y", True)])
def test_no_error_stands_in_the_way(name: str, warns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(log, "warning", warned.append)
    with told([("GetMachine", name)], monkeypatch):
        machine.forget(known())
    assert warned == (["machine `web`: Text"] if warns else [])

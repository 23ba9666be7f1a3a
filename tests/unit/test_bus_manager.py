"""What the manager calls do when answers are lost, as while systemd re-executes itself: the peer is scripted."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import BusError
from pyoci_systemd.systemd import manager, wire
from tests.unit.test_bus import Peer, answer, error, played, soon

UNIT = "a.scope"
START: list[manager.Property] = [("PIDs", "au", [7])]
Turn = tuple[str, Any]  # the method that is expected; the values of its answer, or the name of an error


def play(peer: Peer, turns: list[Turn]) -> None:
    """Expect the methods of `turns` in order and give their answers; a `Get` is told as its property."""
    peer.greet()
    for expected, told in turns:
        call = peer.call()
        while call.member == "AddMatch":
            call = peer.call()
        assert (call.values()[1] if call.member == "Get" else call.member) == expected
        if isinstance(told, str):
            peer.sock.sendall(error(call.serial, told, "Text."))
        else:
            peer.sock.sendall(answer(call.serial, *told))


def removed(path: str, result: str, sender: str) -> bytes:
    values = (1, path, UNIT, result)
    fields = {1: manager.ROOT, 2: manager.MANAGER, 3: "JobRemoved", 8: "uoss", 7: sender}
    body = wire.marshal("uoss", values)
    array = [(code, (wire.FIELDS[code][1], value)) for code, value in fields.items()]
    head = wire.marshal("yyyyuua(yv)", (ord("l"), wire.SIGNAL, 1, 1, len(body), 78, array))
    return head + bytes(-len(head) % 8) + body


LOST: Turn = ("StartTransientUnit", manager.LOST)
EXISTS: Turn = ("StartTransientUnit", manager.UNIT_EXISTS)
STARTED: Turn = ("StartTransientUnit", ("o", "/job/1"))
RESET: Turn = ("ResetFailedUnit", ("",))


def state(value: str) -> Turn:
    return "ActiveState", ("v", ("s", value))


def settled(value: str) -> list[Turn]:
    return [state(value), ("Job", ("v", ("(uo)", (0, "/"))))]


def inside(unit: str) -> list[Turn]:
    return [("GetUnitByPID", ("o", "/unit")), ("Id", ("v", ("s", unit)))]


@pytest.mark.parametrize(
    ("turns", "path"),
    [
        ([STARTED], "/job/1"),
        ([EXISTS, state("failed"), RESET, STARTED], "/job/1"),
        ([EXISTS, state("inactive"), ("ResetFailedUnit", manager.NO_SUCH_UNIT), STARTED], "/job/1"),
        ([LOST, *settled("inactive"), RESET, STARTED], "/job/1"),
        (
            [
                LOST,
                ("ActiveState", manager.LOST),
                ("Job", manager.LOST),
                *settled("inactive"),
                RESET,
                LOST,
                *settled("inactive"),
                RESET,
                STARTED,
            ],
            "/job/1",
        ),
        ([LOST, *settled("active"), *inside(UNIT)], ""),  # done before the answer was lost
        # its job waited for its turn when it was looked for
        ([LOST, state("inactive"), ("Job", ("v", ("(uo)", (5, "/job/5")))), *settled("active"), *inside(UNIT)], ""),
        # asked for again, for the unit was not there yet; then it was
        ([LOST, *settled("inactive"), RESET, EXISTS, *settled("active"), *inside(UNIT)], ""),
    ],
)
def test_a_start_that_succeeds(turns: list[Turn], path: str) -> None:
    with played(lambda peer: play(peer, turns)) as bus:
        bus.greet(soon())
        job = manager.start_transient_unit(bus, UNIT, START, deadline=soon())
        assert (job.path, job.unit) == (path, UNIT)


@pytest.mark.parametrize(
    ("turns", "name", "hint"),
    [
        ([EXISTS, state("active")], manager.UNIT_EXISTS, ""),
        ([EXISTS, state("deactivating")], manager.UNIT_EXISTS, ""),
        ([EXISTS, state("failed"), RESET, EXISTS], manager.UNIT_EXISTS, ""),  # one retry, no more
        ([LOST, *settled("active"), *inside("other.scope")], manager.UNIT_EXISTS, ""),
        ([("StartTransientUnit", "org.x.Other")], "org.x.Other", ""),
        ([("StartTransientUnit", manager.DESTRUCTIVE)], manager.DESTRUCTIVE, "while systemd goes down"),
    ],
)
def test_a_start_that_is_refused(turns: list[Turn], name: str, hint: str) -> None:
    with played(lambda peer: play(peer, turns)) as bus:
        bus.greet(soon())
        with pytest.raises(BusError, match=f"^start `{UNIT}`: ") as caught:
            manager.start_transient_unit(bus, UNIT, START, deadline=soon())
        assert caught.value.name == name
        assert caught.value.hint[:23] == hint


@pytest.mark.parametrize("refusal", [manager.LOST, manager.BUSY])
def test_what_may_be_asked_twice(refusal: str) -> None:
    """An answer that is lost, and a unit that is still being thawed for one who was killed meanwhile."""
    turns: list[Turn] = [("FreezeUnit", refusal), ("FreezeUnit", refusal), ("FreezeUnit", ("",))]
    with played(lambda peer: play(peer, turns)) as bus:
        bus.greet(soon())
        manager.freeze_unit(bus, UNIT, deadline=soon())


def test_a_lost_answer_gives_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only pauses move: the peer answers as late as it may."""
    now = [0.0]
    monkeypatch.setattr(manager, "monotonic", lambda: now[0])
    monkeypatch.setattr(manager, "sleep", lambda seconds: now.append(now.pop() + seconds))
    end = soon()
    now[0] = end - 0.1

    def part(peer: Peer) -> None:
        peer.greet()
        while (call := peer.call()).member == "FreezeUnit":
            peer.sock.sendall(error(call.serial, manager.LOST, "Gone."))

    with played(part) as bus:
        bus.greet(soon())
        with pytest.raises(BusError, match="^freeze `a.scope`: Gone$"):
            manager.freeze_unit(bus, UNIT, deadline=end)
        assert end <= now[0] < end + 2 * manager.PAUSE
        bus.send("org.a", "/", "org.a", "End", deadline=soon())


@pytest.mark.parametrize("result", ["failed", "canceled", "timeout", "dependency"])
def test_a_job_that_ends_badly(result: str) -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        peer.sock.sendall(removed("/job/2", "done", ":1.0") + removed("/job/1", result, ":1.0"))

    with played(part) as bus:
        bus.greet(soon())
        with pytest.raises(BusError, match=f"^`{UNIT}`: the job ended with `{result}`$") as caught:
            manager.wait_job(bus, manager.Job("/job/1", UNIT, ":1.0"), deadline=soon())
        assert caught.value.name == manager.JOB_FAILED


@pytest.mark.parametrize(("owner", "counts"), [(":1.9", True), (":1.5", False)])
def test_a_signal_counts_if_it_is_from_who_is_systemd_now(owner: str, counts: bool) -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        peer.sock.sendall(removed("/job/1", "failed", ":1.9"))
        call = peer.call()
        assert (call.member, call.values()) == ("GetNameOwner", (manager.SYSTEMD,))
        peer.sock.sendall(answer(call.serial, "s", owner) + removed("/job/1", "done", owner if not counts else ":1.0"))
        if not counts:
            call = peer.call()
            peer.sock.sendall(answer(call.serial, "s", owner))

    with played(part) as bus:
        bus.greet(soon())
        job = manager.Job("/job/1", UNIT, ":1.0")
        if counts:
            with pytest.raises(BusError, match="ended with `failed`$"):
                manager.wait_job(bus, job, deadline=soon())
        else:
            manager.wait_job(bus, job, deadline=soon())


def test_a_job_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "LOOK", 0.05)
    looks = ["activating", "activating"]

    def part(peer: Peer) -> None:
        peer.greet()
        while (call := peer.call()).member == "Get":  # once more for each answer that came too late
            value = looks.pop() if looks else "active"
            peer.sock.sendall(answer(call.serial, "v", ("s", value)))

    with played(part) as bus:
        bus.greet(soon())
        manager.wait_job(bus, manager.Job("/job/1", UNIT, ":1.0"), deadline=soon())
        assert not looks
        bus.send("org.a", "/", "org.a", "End", deadline=soon())


def test_matches_stay_few() -> None:
    members: list[tuple[str, str]] = []

    def part(peer: Peer) -> None:
        peer.greet()
        for at in range(4):
            while (call := peer.call()).member == "AddMatch":
                members.append(("match", call.values()[0].partition("member=")[2]))
            members.append((call.member, call.values()[0]))
            peer.sock.sendall(error(call.serial, manager.NO_SUCH_UNIT, f"{at}"))

    with played(part) as bus:
        bus.greet(soon())
        for unit in "a.scope", "a.scope", "b.scope", "c.scope":
            assert manager.stop_unit(bus, unit, deadline=soon()) is False
    assert members == [
        ("match", "'JobRemoved',arg2='a.scope'"),
        ("StopUnit", "a.scope"),
        ("StopUnit", "a.scope"),
        ("match", "'JobRemoved'"),
        ("StopUnit", "b.scope"),
        ("StopUnit", "c.scope"),
    ]


def test_limits_of_a_start() -> None:
    # nothing of what is refused has gone out when the version is asked for
    with played(lambda peer: play(peer, [("Version", ("v", ("s", "257")))])) as bus:
        bus.greet(soon())
        many: list[manager.Property] = [("A", "s", "b")] * (manager.MOST_PROPERTIES + 1)
        refused: list[tuple[str, list[manager.Property], str]] = [
            (UNIT, many, "at most 256"),
            (UNIT, [("A", "ay", bytes(1 << 17))], "at most 65536"),
            ("a'.scope", START, "invalid unit name"),
        ]
        for unit, properties, text in refused:
            with pytest.raises(ValueError, match=text):
                manager.begin_start(bus, unit, properties, deadline=soon())
        assert manager.version(bus, deadline=soon()) == 257


@pytest.mark.parametrize(
    ("text", "number"), [("257.9-1~deb13u1", 257), ("252 (252.39-1)", 252), ("v259-rc1", 259), ("260~devel", 260)]
)
def test_version(text: str, number: int) -> None:
    with played(lambda peer: play(peer, [("Version", ("v", ("s", text)))])) as bus:
        bus.greet(soon())
        assert manager.version(bus, deadline=soon()) == number


def test_properties_are_asked_for_together() -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        calls = [peer.call(), peer.call()]
        for call, value in zip(calls, ["one", "two"], strict=True):
            peer.sock.sendall(answer(call.serial, "v", ("s", value)))

    with played(part) as bus:
        bus.greet(soon())
        told = manager.unit_properties(bus, UNIT, "Unit", ["A", "B"], deadline=soon())
        assert told == {"A": "one", "B": "two"}


@pytest.mark.parametrize("text", ["", "v", "unknown", "-1"])
def test_no_version(text: str) -> None:
    with pytest.raises(BusError, match=f"^systemd calls its version `{text}`$"):
        manager.major(text)

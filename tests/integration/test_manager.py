"""The manager calls against a real systemd; `systemctl show` says what truly came of them."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyoci_systemd.container import learned
from pyoci_systemd.container import scope as scopes
from pyoci_systemd.errors import BusError
from pyoci_systemd.systemd import manager
from pyoci_systemd.systemd.bus import Bus, system_address
from pyoci_systemd.systemd.manager import Property, Unsupported

Wait = Callable[..., Any]
ids = itertools.count(1)


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def show(unit: str, *names: str) -> dict[str, str]:
    """Return properties of `unit` as systemctl prints them."""
    command = ["systemctl", "show", unit, *(f"--property={name}" for name in names)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def start(bus: Bus, unit: str, *properties: Property) -> None:
    job = manager.start_transient_unit(bus, unit, properties, deadline=soon())
    manager.wait_job(bus, job, deadline=soon())


@pytest.fixture
def bus() -> Iterator[Bus]:
    with Bus.connect(system_address({}), soon()) as bus:
        yield bus


@pytest.fixture
def child() -> Iterator[int]:
    """A process that sleeps."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def scope() -> Iterator[str]:
    """The name of a scope, with characters that an object path escapes; stopped in the end."""
    name = f"pyoci-test_{os.getpid()}-{next(ids)}.scope"
    yield name
    for verb in "stop", "reset-failed":
        subprocess.run(["systemctl", verb, name], capture_output=True, timeout=20)


def test_a_scope_lives_and_is_stopped(bus: Bus, child: int, scope: str) -> None:
    start(bus, scope, ("Description", "s", "a test"), ("Delegate", "b", True), ("PIDs", "au", [child]))
    told = {"ActiveState": "active", "Description": "a test", "Delegate": "yes", "Transient": "yes"}
    assert show(scope, *told) == told
    group = show(scope, "ControlGroup")["ControlGroup"]
    assert pathlib.Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text() == f"{child}\n"
    assert manager.get_unit_by_pid(bus, child, deadline=soon()) == scope
    assert manager.unit_properties(bus, scope, "Scope", ["ControlGroup"], deadline=soon()) == {"ControlGroup": group}
    assert manager.stop_unit(bus, scope, deadline=soon()) is True
    assert os.waitpid(child, 0)[1] == signal.SIGTERM
    assert show(scope, "ActiveState") == {"ActiveState": "inactive"}
    assert manager.stop_unit(bus, scope, deadline=soon()) is False


def test_the_job_is_told_at_once(bus: Bus, child: int, scope: str) -> None:
    # a lost JobRemoved is made good for by a look at the unit after a second: too late to go unnoticed here
    begun = time.monotonic()
    start(bus, scope, ("PIDs", "au", [child]))
    manager.stop_unit(bus, scope, deadline=soon())
    assert time.monotonic() - begun < manager.LOOK


def test_pystemd_reads_the_same(bus: Bus, child: int, scope: str) -> None:
    systemd1 = pytest.importorskip("pystemd.systemd1")
    start(bus, scope, ("Description", "s", "dé"), ("TimeoutStopUSec", "t", 7_000_000), ("PIDs", "au", [child]))
    with systemd1.Unit(scope.encode(), _autoload=True) as unit:
        theirs = (unit.Unit.Description, unit.Unit.ActiveState, unit.Scope.TimeoutStopUSec)
    assert theirs == ("dé".encode(), b"active", 7_000_000)


def test_work_may_be_done_between_begin_and_finish(bus: Bus, child: int, scope: str, wait_until: Wait) -> None:
    begun = manager.begin_start(bus, scope, [("PIDs", "au", [child])], deadline=soon())
    # the reply and JobRemoved are both waiting for us by then
    wait_until(lambda: show(scope, "ActiveState") == {"ActiveState": "active"})
    job = manager.finish_start(bus, begun, deadline=soon())
    manager.wait_job(bus, job, deadline=soon())


def test_a_pidfd(child: int, scope: str) -> None:
    with Bus.connect(system_address({}), soon(), fds=True) as bus:
        fd = os.pidfd_open(child)
        try:
            begun = manager.begin_start(bus, scope, [("PIDFDs", "ah", [0])], fds=[fd], deadline=soon())
        finally:
            os.close(fd)
        if manager.version(bus, deadline=soon()) < 255:
            with pytest.raises(Unsupported) as caught:
                manager.finish_start(bus, begun, deadline=soon())
            assert caught.value.property == "PIDFDs"
            return
        manager.wait_job(bus, manager.finish_start(bus, begun, deadline=soon()), deadline=soon())
        assert manager.get_unit_by_pid(bus, child, deadline=soon()) == scope


def test_version(bus: Bus) -> None:
    told = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    assert manager.version(bus, deadline=soon()) == int(told.split()[1])


@pytest.mark.parametrize("name", ["Nonsense", "ActiveState"])
def test_an_unknown_property_is_named(bus: Bus, child: int, scope: str, name: str) -> None:
    with pytest.raises(Unsupported, match=f"^start `{scope}`: ") as caught:
        start(bus, scope, ("Description", "s", "x"), (name, "s", "x"), ("PIDs", "au", [child]))
    assert caught.value.property == name
    start(bus, scope, ("Description", "s", "x"), ("PIDs", "au", [child]))  # nothing of the first try is in the way


def test_an_unknown_property_is_named_by_a_change_as_well(bus: Bus, child: int, scope: str) -> None:
    start(bus, scope, ("PIDs", "au", [child]))
    with pytest.raises(Unsupported) as caught:
        manager.set_unit_properties(bus, scope, [("Delegate", "b", True)], deadline=soon())
    assert caught.value.property == "Delegate"
    manager.set_unit_properties(bus, scope, [("Description", "s", "changed")], deadline=soon())
    assert show(scope, "Description") == {"Description": "changed"}


@pytest.mark.parametrize(
    ("unit", "properties", "text"),
    [
        ("{}", [("Description", "u", 1)], "Unexpected message contents"),
        ("{}", [("Description", "s", "no PIDs")], "No such file or directory"),
        ("no-suffix", [], "Invalid unit name or type"),
        ("a/../{}", [], "Invalid unit name or type"),
        ("{}", [("PIDs", "au", [1 << 21])], "(No such process|does not exist)"),
        ("{}", [("TimeoutStopUSec", "s", "5s")], "Unexpected message contents"),
    ],
)
def test_refusals_name_the_unit(bus: Bus, scope: str, unit: str, properties: list[Property], text: str) -> None:
    unit = unit.format(scope)
    with pytest.raises(BusError, match=f"^start `{unit}`: .*{text}$"):
        start(bus, unit, *properties)


def test_a_process_that_is_gone(bus: Bus, child: int, scope: str) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    with pytest.raises(BusError, match=f"^start `{scope}`: ") as caught:
        start(bus, scope, ("PIDs", "au", [child, gone.pid]))
    assert caught.value.name == "org.freedesktop.DBus.Error.UnixProcessIdUnknown"
    assert show(scope, "LoadState") == {"LoadState": "not-found"}


def test_a_process_that_is_not_reaped_counts_as_alive(bus: Bus, scope: str) -> None:
    # systemd says `done`, and the scope stays: who starts one has to look whether its process lives
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        start(bus, scope, ("PIDs", "au", [process.pid]))
    assert show(scope, "ActiveState") == {"ActiveState": "active"}
    assert manager.stop_unit(bus, scope, deadline=soon()) is True
    assert show(scope, "ActiveState") == {"ActiveState": "inactive"}


def test_a_live_unit_of_that_name_is_left_alone(bus: Bus, child: int, scope: str) -> None:
    start(bus, scope, ("PIDs", "au", [child]))
    with subprocess.Popen(["sleep", "60"]) as other:
        with pytest.raises(BusError, match="a unit of this name exists and is active$") as caught:
            start(bus, scope, ("PIDs", "au", [other.pid]))
        other.kill()
    assert caught.value.name == manager.UNIT_EXISTS
    assert manager.get_unit_by_pid(bus, child, deadline=soon()) == scope


def test_a_failed_unit_of_that_name_is_replaced(bus: Bus, child: int, scope: str, wait_until: Wait) -> None:
    with subprocess.Popen(["sleep", "60"]) as first:
        start(bus, scope, ("RuntimeMaxUSec", "t", 50_000), ("PIDs", "au", [first.pid]))
    wait_until(lambda: show(scope, "ActiveState") == {"ActiveState": "failed"})
    start(bus, scope, ("Description", "s", "second"), ("PIDs", "au", [child]))
    assert show(scope, "ActiveState", "Description") == {"ActiveState": "active", "Description": "second"}


def test_reset_failed(bus: Bus, scope: str, wait_until: Wait) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        start(bus, scope, ("RuntimeMaxUSec", "t", 50_000), ("PIDs", "au", [process.pid]))
    wait_until(lambda: show(scope, "ActiveState") == {"ActiveState": "failed"})
    assert manager.reset_failed_unit(bus, scope, deadline=soon()) is True
    assert manager.reset_failed_unit(bus, scope, deadline=soon()) is False


def test_freeze_kill_and_thaw(bus: Bus, child: int, scope: str) -> None:
    start(bus, scope, ("PIDs", "au", [child]))
    events = pathlib.Path(f"/sys/fs/cgroup{show(scope, 'ControlGroup')['ControlGroup']}/cgroup.events")
    manager.freeze_unit(bus, scope, deadline=soon())
    assert "frozen 1" in events.read_text()
    manager.kill_unit(bus, scope, signal.SIGUSR1, deadline=soon())
    manager.thaw_unit(bus, scope, deadline=soon())
    assert os.waitpid(child, 0)[1] == signal.SIGUSR1
    with pytest.raises(BusError, match="^freeze `pyoci-none.scope`: ") as caught:
        manager.freeze_unit(bus, "pyoci-none.scope", deadline=soon())
    assert caught.value.name == manager.NO_SUCH_UNIT


def test_attach(bus: Bus, child: int, scope: str) -> None:
    start(bus, scope, ("Delegate", "b", True), ("PIDs", "au", [child]))
    with subprocess.Popen(["sleep", "60"]) as other:
        manager.attach_processes(bus, scope, [other.pid], deadline=soon())
        assert manager.get_unit_by_pid(bus, other.pid, deadline=soon()) == scope
        other.kill()


def test_a_unit_that_does_not_exist(bus: Bus) -> None:
    names = ("LoadState", "ActiveState")
    told = manager.unit_properties(bus, "pyoci-none.scope", "Unit", names, deadline=soon())
    assert told == {"LoadState": "not-found", "ActiveState": "inactive"}


@pytest.mark.parametrize("unit", ["a-b_c.scope", "1st.scope", "x\\x2dy.scope", "é.scope", "a@b:c.scope"])
def test_object_paths_are_escaped_as_systemd_does(unit: str) -> None:
    library = ctypes.CDLL("libsystemd.so.0")
    path = ctypes.c_char_p()
    encoded = unit.encode()
    assert library.sd_bus_path_encode(b"/org/freedesktop/systemd1/unit", encoded, ctypes.byref(path)) >= 0
    assert path.value is not None
    assert manager.unit_path(unit) == path.value.decode()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Hold a process by SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_broker_that_stands_still(scope: str, child: int) -> None:
    broker = int(show("dbus.service", "MainPID")["MainPID"])
    with stopped(broker):
        begun = time.monotonic()
        with Bus.connect(system_address({}), soon(0.3)) as bus:
            job = manager.begin_start(bus, scope, [("PIDs", "au", [child])], deadline=soon(0.3))
            with pytest.raises(BusError, match="no answer within 0.3 s$") as caught:
                manager.finish_start(bus, job, deadline=begun + 0.3)
        assert caught.value.name == "timeout"
        assert time.monotonic() - begun < 1
    with Bus.connect(system_address({}), soon()) as bus:  # what was asked too late may have been done after all
        manager.stop_unit(bus, scope, deadline=soon())


def test_a_lost_signal_is_made_good_for(bus: Bus, child: int, scope: str) -> None:
    job = manager.start_transient_unit(bus, scope, [("PIDs", "au", [child])], deadline=soon())
    other = manager.Job("/org/freedesktop/systemd1/job/0", scope, job.sender)
    manager.wait_job(bus, other, deadline=soon())
    with pytest.raises(BusError, match=f"^`{scope}`: systemd did not finish the job within 0.2 s$"):
        manager.wait_job(bus, other, wanted=("inactive",), deadline=soon(0.2))


def test_a_forged_signal_does_not_count(bus: Bus, child: int, scope: str) -> None:
    (ours,) = bus.wait_signal(lambda received: received.member == "NameAcquired", soon()).values()
    forged = "/org/freedesktop/systemd1/job/0"
    command = ["busctl", "emit", f"--destination={ours}", manager.ROOT, manager.MANAGER, "JobRemoved"]
    subprocess.run([*command, "uoss", "1", forged, scope, "failed"], check=True, timeout=10)
    job = manager.start_transient_unit(bus, scope, [("PIDs", "au", [child])], deadline=soon())
    manager.wait_job(bus, manager.Job(forged, scope, job.sender), deadline=soon())  # by the look, not by the `failed`


def test_reexec_during_starts(bus: Bus, scope: str) -> None:
    if manager.version(bus, deadline=soon()) < 257:
        pytest.skip("the systemd-run that runs us here does not outlive a re-exec")
    with contextlib.ExitStack() as stack:
        units = [scope.replace("test", f"reexec{at}") for at in range(20)]
        again = stack.enter_context(subprocess.Popen(["sh", "-c", "for i in 1 2 3; do systemctl daemon-reexec; done"]))
        for unit in units:
            process = stack.enter_context(subprocess.Popen(["sleep", "60"]))
            stack.callback(process.kill)
            with Bus.connect(system_address({}), soon()) as bus:
                start(bus, unit, ("PIDs", "au", [process.pid]))
        assert again.wait(20) == 0
        with Bus.connect(system_address({}), soon()) as bus:
            for unit in units:
                assert manager.stop_unit(bus, unit, deadline=soon()) is True


def test_what_systemd_does_not_know_is_learned(bus: Bus, scope: str, tmp_path: pathlib.Path) -> None:
    """From this very systemd, which says so in words of its own."""
    heard: list[str] = []
    send = bus.send

    def listen(*words: Any, **how: Any) -> int:
        heard.append(words[3])
        return send(*words, **how)

    bus.send = listen  # type: ignore[method-assign]
    for asked in (["StartTransientUnit", "StartTransientUnit", "Get"], ["Get", "StartTransientUnit"]):
        with subprocess.Popen(["sleep", "60"]) as process:
            properties: list[Property] = [
                ("Nonsense", "s", "x"),
                ("Description", "s", "d"),
                ("PIDs", "au", [process.pid]),
            ]
            heard.clear()
            scopes.start(bus, scope, properties, soon(), str(tmp_path))
            assert heard == asked
            assert show(scope, "Description") == {"Description": "d"}
            assert learned.read(str(tmp_path))[1] == {"Nonsense"}
            manager.stop_unit(bus, scope, deadline=soon())

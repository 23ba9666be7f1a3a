"""systemd stands still, or the bus breaks, at each step of what the runtime asks: it is done, or undone and said."""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pyoci_systemd.errors import BusError
from pyoci_systemd.systemd import manager
from pyoci_systemd.systemd.bus import Bus, system_address
from tests.integration.attack_scene import SOAK
from tests.integration.conftest import CRUN, Container, Run
from tests.integration.machined_scene import machines

pytestmark = pytest.mark.skipif(CRUN, reason="other runtimes do not promise this")
FREEZE = pathlib.Path("/sys/fs/cgroup/init.scope/cgroup.freeze")
BUS = "/run/dbus/system_bus_socket"


@contextlib.contextmanager
def standing_still() -> Iterator[None]:
    """Hold PID 1 where it is: no signal can do that, but its cgroup can be frozen."""
    FREEZE.write_text("1")
    try:
        yield
    finally:
        FREEZE.write_text("0")


class Broken:
    """A bus that breaks when `count` pieces of messages have passed, once; whoever connects then has a whole one."""

    def __init__(self, path: pathlib.Path, count: int) -> None:
        self.path, self.left, self.passed = path, count, 0
        self.broke = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                client = self.listener.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(BUS)
                threading.Thread(target=self.relay, args=(client, server), daemon=True).start()

    def relay(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(ConnectionError):
            while True:
                for source in select.select([client, server], [], [])[0]:
                    piece = source.recv(65536)
                    if not piece:
                        return
                    if self.passed == self.left and not self.broke:
                        self.broke = True
                        return
                    self.passed += 1
                    (server if source is client else client).sendall(piece)


Breaking = Callable[[int], tuple[Broken, dict[str, str]]]


@pytest.fixture
def broken(tmp_path: pathlib.Path) -> Iterator[Breaking]:
    made: list[Broken] = []

    def make(count: int) -> tuple[Broken, dict[str, str]]:
        path = tmp_path / f"bus{len(made)}"
        made.append(Broken(path, count))
        return made[-1], {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={path}"}

    yield make
    for bus in made:
        with contextlib.suppress(OSError):
            bus.listener.shutdown(socket.SHUT_RDWR)
        bus.listener.close()


DENY = [{"allow": False, "access": "rwm"}]


def each_message(broken: Breaking, ask: Callable[[dict[str, str]], subprocess.CompletedProcess[str]]) -> Iterator[int]:
    """Ask with a bus that breaks a message later each time, until all have passed; it must be done in silence."""
    for count in range(100):
        bus, environment = broken(count)
        done = ask(environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), count
        yield count
        if not bus.broke:
            assert count > 1, "it hardly ever broke"  # a delete that finds its scope gone has little to ask
            return
    pytest.fail("it breaks for ever")


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_the_bus_breaks_at_each_message(run: Run, container: Container, broken: Breaking, verb: str) -> None:
    """The broker restarts and forgets: the verb connects anew and is done, as if nothing had been."""
    container.config["linux"]["resources"] = {"devices": DENY}
    if verb == "delete":  # or systemd need not be asked
        container.config["annotations"] = {"org.systemd.property.CollectMode": "'inactive'"}
    container.bundle.sh("exec sleep 1000")
    create = ("create", "--bundle", container.bundle.path, container.name)

    def ask(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if verb == "create":
            return run(*create, env=environment)
        run(*create, check=True)
        return run("delete", container.name, env=environment)

    for count in each_message(broken, ask):
        if verb == "create":
            assert container.state()["status"] == "created", count
            assert run("verify", container.name).returncode == 0, count
            run("delete", "--force", container.name, check=True)
        assert run("state", container.name).returncode == 1, count


def test_the_bus_breaks_at_each_message_about_one_that_lives(run: Run, container: Container, broken: Breaking) -> None:
    container.config["linux"]["resources"] = {"devices": DENY}
    container.create()
    update, asked = ("update", "--resources", "-", container.name), '{"devices": [{"allow": false, "access": "rwm"}]}'
    for _ in each_message(broken, lambda env: run(*update, env=env, input=asked)):
        assert run("verify", container.name).returncode == 0
    for verb, other, status in ("pause", "resume", "paused"), ("resume", "pause", "created"):
        for count in each_message(broken, lambda env, verb=verb: run(verb, container.name, env=env)):  # type: ignore[misc]
            assert container.state()["status"] == status, (verb, count)
            run(other, container.name, check=True)
        run(verb, container.name, check=True)


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_the_bus_breaks_at_each_message_about_a_machine(
    run: Run, container: Container, broken: Breaking, verb: str
) -> None:
    """What is lost with the broker is asked again, and it is listed once. Seen red with every call made once."""
    container.bundle.sh("exec sleep 1000")
    create = ("create", "--machine", "broken", "--bundle", container.bundle.path, container.name)

    def ask(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if verb == "create":
            return run(*create, env=environment)
        run(*create, check=True)
        return run("--log-level=warning", "delete", container.name, env=environment)

    for count in each_message(broken, ask):
        assert machines() == (["broken"] if verb == "create" else []), count
        run("delete", "--force", container.name, check=True)


def test_a_create_that_systemd_answers_late(container: Container) -> None:
    with standing_still():
        thaw = threading.Timer(3.0, FREEZE.write_text, ["0"])
        thaw.start()
        began = time.monotonic()
        container.create()
        thaw.join()
    assert time.monotonic() - began > 2
    assert container.state()["status"] == "created"
    assert container.run("verify", container.name).returncode == 0
    container.delete()


@pytest.mark.skipif(not SOAK, reason="takes 35 s: SOAK=1")
def test_a_create_that_systemd_does_not_answer(run: Run, container: Container) -> None:
    """It is given up after 30 s and undone, and when systemd goes on it makes nothing of what it was asked for."""
    container.bundle.sh("exec sleep 1000")
    with standing_still():
        began = time.monotonic()
        done = run("create", "--bundle", container.bundle.path, container.name, timeout=60)
        took = time.monotonic() - began
        assert run("state", container.name).returncode == 1
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and "no answer within 30 s" in lines[-1], done
    assert 29 < took < 33, took


def test_a_freeze_that_comes_too_late_does_not_last(container: Container, wait_until: Callable[..., object]) -> None:
    """It was given up, and an error was told: then the container must not be found frozen a moment later."""
    container.create()
    container.start()
    unit = f"pyoci-{container.name}.scope"
    with Bus.connect(system_address({}), time.monotonic() + 5) as bus:
        with standing_still(), pytest.raises(BusError, match="no answer within"):
            manager.freeze_unit(bus, unit, deadline=time.monotonic() + 0.3)
        # what is asked now is answered after that
        manager.unit_properties(bus, unit, "Unit", ["ActiveState"], deadline=time.monotonic() + 5)

    def freezer() -> str:
        shown = ["systemctl", "show", "--property=FreezerState", "--value", unit]
        return subprocess.run(shown, check=True, capture_output=True, text=True, timeout=10).stdout.strip()

    wait_until(lambda: freezer() == "running", "systemd to thaw it")
    assert container.state()["status"] == "running"
    container.delete()

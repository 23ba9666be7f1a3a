"""What the tests of services share: units of the machine's own systemd, whose main process is the runtime."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.program_scene import with_tools

UNITS = pathlib.Path("/run/systemd/system")
SOCKET = "/run/notify/notify.sock"
VERSION = int(subprocess.run(["systemctl", "--version"], capture_output=True, text=True).stdout.split()[1])


def systemctl(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run systemctl."""
    done = subprocess.run(["systemctl", *args], capture_output=True, text=True, timeout=30)
    if check:
        assert done.returncode == 0, (args, done)
    return done


class Units:
    """Units of systemd, which go when the test ends."""

    def __init__(self, wait_until: Callable[..., Any]) -> None:
        self._names: list[str] = []
        self._wait_until = wait_until

    def write(self, name: str, text: str) -> None:
        """Make a unit."""
        (UNITS / name).write_text(text)
        self._names.append(name)
        systemctl("daemon-reload")

    def show(self, name: str, what: str) -> str:
        """Return a property of a unit."""
        return systemctl("show", "--value", f"--property={what}", name).stdout.strip()

    def becomes(self, name: str, what: str, value: str, seconds: float = 10.0) -> None:
        """Wait until a property of a unit has a value."""
        said = f"{what} of {name} to be `{value}`"
        self._wait_until(lambda: self.show(name, what) == value, said, seconds=seconds)

    def remove(self) -> None:
        """Stop and remove them: sockets first, which would start their services again."""
        for name in sorted(self._names, key=lambda name: not name.endswith(".socket")):
            # a first process of a container does not hear what it has no handler for
            systemctl("kill", "--kill-whom=main", "--signal=KILL", name, check=False)
            systemctl("stop", name, check=False)
            systemctl("reset-failed", name, check=False)
            (UNITS / name).unlink(missing_ok=True)
        if self._names:
            systemctl("daemon-reload")


@pytest.fixture
def units(wait_until: Callable[..., Any]) -> Iterator[Units]:
    """Return what makes units."""
    made = Units(wait_until)
    yield made
    made.remove()


class Served:
    """A container that is a service: `bundle` with the machine's programs, run by a unit of its own name."""

    def __init__(self, units: Units, run: Run, runtime: str, bundle: Bundle, name: str) -> None:
        self.units, self.run, self.runtime, self.bundle, self.name = units, run, runtime, with_tools(bundle), name
        self.config = bundle.config
        self.unit = f"{name}.service"
        for directory in ("run", "usr/bin"):
            (bundle.rootfs / directory).mkdir(exist_ok=True, parents=True)

    def write(self, script: str, *more: str, start: str = "") -> None:
        """Make the unit: of Type=notify, with lines of more for its section [Service]. Its program is a shell script."""
        self.bundle.sh(script)
        start = start or f"{self.runtime} run --bundle {self.bundle.path} {self.name}"
        lines = ["Type=notify", "NotifyAccess=main", "TimeoutStartSec=20", "TimeoutStopSec=2"]
        lines += [f"ExecStart={start}", f"ExecStopPost=-{self.runtime} delete --force {self.name}", *more]
        self.units.write(self.unit, "[Service]\n" + "\n".join(lines) + "\n")

    def up(self, *more: str, script: str = "systemd-notify --ready; exec sleep 1000", **how: Any) -> None:
        """Make the unit, and start it."""
        self.write(script, *more, **how)
        systemctl("start", self.unit)

    def show(self, what: str) -> str:
        """Return a property of its unit."""
        return self.units.show(self.unit, what)

    def tells(self, *lines: str) -> None:
        """Have a program in the container tell the manager something, and wait until it has been heard."""
        said = ["systemd-notify", *lines]
        self.run("exec", "--env", f"NOTIFY_SOCKET={SOCKET}", self.name, *said, check=True)

    def python(self, script: str, *args: str) -> str:
        """Run a Python script in the container, in which `s` is a socket to the manager; return what it prints."""
        begin = f"import os, socket, sys; s = socket.socket(1, 2); s.connect({SOCKET!r}); " + BARRIER
        return self.run("exec", self.name, "python3", "-c", begin + script + "\nbarrier()\n", *args, check=True).stdout

    @property
    def pid(self) -> int:
        """The container's first process."""
        return int(json.loads(self.run("state", self.name, check=True).stdout)["pid"])

    def environment(self) -> dict[str, str]:
        """Return the environment of the container's first process."""
        raw = pathlib.Path(f"/proc/{self.pid}/environ").read_text()
        return dict(entry.split("=", 1) for entry in raw.split("\0") if entry)


BARRIER = """
def barrier():
    reading, writing = os.pipe()
    socket.send_fds(s, [b"BARRIER=1"], [writing])
    os.close(writing)
    import select
    waits = select.poll()
    waits.register(reading, 0)
    assert waits.poll(5000), "the manager did not hear it"

"""


@pytest.fixture
def served(units: Units, run: Run, runtime: str, bundle: Bundle, container_id: str) -> Served:
    """Return a container to be run by a service."""
    return Served(units, run, runtime, bundle, container_id)


def journal(unit: str, since: float) -> str:
    """Return what a unit wrote to the journal."""
    subprocess.run(["journalctl", "--sync"], check=True, timeout=10)
    command = ["journalctl", "--no-pager", "--output=cat", f"--since=@{since:.3f}", f"--unit={unit}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def now() -> float:
    return time.time()


OURS = pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name == "pyoci"
ours = pytest.mark.skipif(not OURS, reason="other runtimes pass on READY=1 alone, or not for `run`")

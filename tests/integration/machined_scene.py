"""What the tests of systemd-machined share: what it says, and machines without it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator

from tests.integration.needs import SLOWER
from tests.integration.service_scene import systemctl

MACHINED = "org.freedesktop.machine1"
ACTIVATION = pathlib.Path(f"/usr/share/dbus-1/system-services/{MACHINED}.service")


def asked(*words: str, check: bool = True) -> str:
    """Run machinectl, or another program, and return what it says."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20 * SLOWER)
    assert not check or done.returncode == 0, done
    return done.stdout


def call(member: str, *values: str, check: bool = True) -> str:
    """Call a method of machined's."""
    path = f"/{MACHINED.replace('.', '/')}"
    return asked("busctl", "--timeout=10", "call", MACHINED, path, f"{MACHINED}.Manager", member, *values, check=check)


def machines() -> list[str]:
    """Return the names of all machines but the host itself."""
    return [line.split()[0] for line in asked("machinectl", "--no-legend", "--no-pager", "list").splitlines()]


def shown(name: str) -> dict[str, str]:
    """Return what machined says of a machine."""
    return dict(line.split("=", 1) for line in asked("machinectl", "show", name).splitlines())


@contextlib.contextmanager
def masked() -> Iterator[None]:
    """Have systemd-machined stopped, and not to be started."""
    systemctl("mask", "--runtime", "systemd-machined")
    try:
        systemctl("stop", "systemd-machined")
        yield
    finally:
        systemctl("unmask", "--runtime", "systemd-machined")
        systemctl("start", "systemd-machined")


@contextlib.contextmanager
def absent() -> Iterator[None]:
    """Have no systemd-machined on the bus, as without its package."""
    kept, broker = ACTIVATION.read_bytes(), ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"]
    ACTIVATION.unlink()
    try:
        systemctl("stop", "systemd-machined")
        asked("busctl", "call", *broker, "ReloadConfig")
        yield
    finally:
        ACTIVATION.write_bytes(kept)
        asked("busctl", "call", *broker, "ReloadConfig")
        systemctl("start", "systemd-machined")


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    """Have systemd-machined stand still."""
    pid = int(asked("systemctl", "show", "--value", "--property=MainPID", "systemd-machined"))
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)

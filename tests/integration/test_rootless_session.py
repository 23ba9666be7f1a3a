"""A user whose session is not there, or is another's: what is said of it, and that no other bus is taken (D3)."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.integration.conftest import CRUN, Container
from tests.integration.rootless_scene import ANY_PATH, User, alice, bob, hers

__all__ = ["alice", "bob", "hers"]

ours = pytest.mark.skipif(CRUN, reason="crun has other words")

# the environment, and what is said of it
NO_SESSION: dict[str, tuple[dict[str, str], str]] = {
    "unset": ({}, "XDG_RUNTIME_DIR is not set"),
    "empty": ({"XDG_RUNTIME_DIR": ""}, "XDG_RUNTIME_DIR is not set"),
    "nowhere": ({"XDG_RUNTIME_DIR": "/run/user/4711"}, "XDG_RUNTIME_DIR `/run/user/4711`: No such file or directory"),
    "root's": ({"XDG_RUNTIME_DIR": "/run/systemd"}, "XDG_RUNTIME_DIR `/run/systemd` belongs to another user, 0"),
}


@ours
@pytest.mark.parametrize("case", NO_SESSION)
def test_no_session(case: str, alice: User, hers: Container) -> None:
    environ, words = NO_SESSION[case]
    for verb in (["run", "--bundle", str(hers.bundle.path), hers.name], ["state", hers.name], ["list"]):
        done = alice.run(*verb, env={"PATH": ANY_PATH, **environ})
        assert (done.returncode, done.stderr) == (1, f"pyoci: {words}\n")


@ours
def test_somebody_else_s_session(alice: User, bob: User) -> None:
    done = bob.run("list", env={"PATH": ANY_PATH, "XDG_RUNTIME_DIR": str(alice.directory)})
    assert done.stderr == f"pyoci: XDG_RUNTIME_DIR `{alice.directory}` belongs to another user, {alice.uid}\n"


@ours
@pytest.mark.parametrize("address", ["unix:path=/run/dbus/system_bus_socket", "unix:path=/run/user/0/bus", "nonsense"])
def test_no_other_bus(address: str, alice: User, hers: Container) -> None:
    """The bus is that of XDG_RUNTIME_DIR, whatever variables say; and where there is none there is no other (D3)."""
    others = {"DBUS_SESSION_BUS_ADDRESS": address, "DBUS_SYSTEM_BUS_ADDRESS": address}
    words = ["run", "--bundle", str(hers.bundle.path), hers.name]
    hers.bundle.write()
    assert alice.run(*words, env={**alice.environ, **others}).returncode == 0
    lonely = alice.home / "runtime-dir"
    lonely.mkdir(mode=0o700)
    os.chown(lonely, alice.uid, alice.uid)
    done = alice.run(*words, env={**alice.environ, **others, "XDG_RUNTIME_DIR": str(lonely)})
    assert done.stderr == f"pyoci: no user session bus at `{lonely}/bus`: it is not there\n"
    assert [path.name for path in lonely.rglob("*") if path.name[0] != "."] == ["pyoci"], "something is left"
    subprocess.run(["rm", "-r", lonely], check=True)


@ours
def test_no_other_machined(alice: User, hers: Container, container: Container) -> None:
    """A user has none before systemd 259, and the machine's is not asked: it would say that it has the name.

    Seen red with the words that are for root; and with the system's bus asked.
    """
    container.create("exec sleep 1000", "--machine", "theirs")
    hers.bundle.write()
    done = alice.run("create", "--machine", "theirs", "--bundle", hers.bundle.path, hers.name)
    told = "machine `theirs`: the user has no systemd-machined: it comes with systemd 259"
    assert (done.returncode, done.stderr) == (1, f"pyoci: {told}\n")
    assert alice.run("state", hers.name).returncode == 1
    container.delete()


@ours
def test_verify_asks_her_systemd(alice: User, hers: Container) -> None:
    """By pystemd, on the same bus: red with sd_bus_open_user(3). And no longer than we say: red with sd-bus's 25 s."""
    hers.create()
    hers.start()
    elsewhere = {**alice.environ, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}
    done = alice.run("verify", hers.name, env=elsewhere)
    assert done.returncode == 0, done
    [manager] = subprocess.run(
        ["systemctl", "show", "--value", "--property=MainPID", f"user@{alice.uid}.service"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    os.kill(int(manager), signal.SIGSTOP)
    try:
        begun = time.monotonic()
        done = alice.run("verify", hers.name, env=elsewhere)
        assert (done.returncode, time.monotonic() - begun < 20) == (1, True), done
    finally:
        os.kill(int(manager), signal.SIGCONT)

"""Containers of a user's that her own systemd runs: they say how they are, and get sockets (see also test_web.py).

Seen red:
    a service of hers     READY=1 not passed on; WATCHDOG=1 not passed on; exec without the help of her systemd
    sockets               LISTEN_PID not said
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from tests.integration.conftest import Container
from tests.integration.needs import SLOWER
from tests.integration.program_scene import with_tools
from tests.integration.rootless_scene import User, alice, everywhere, her_service, hers
from tests.integration.service_scene import ours
from tests.integration.test_activation import FOUND, connect
from tests.integration.web_scene import SERVER, page, with_server

__all__ = ["alice", "her_service", "hers"]
pytestmark = ours

WATCHDOG = 2 if SLOWER == 1 else 6  # seconds
# ready when it is let, alive until it is told to hang; its first process has a handler for the watchdog's signal
ALIVE = """
trap 'exit 0' TERM
trap 'exit 9' ABRT
until [ -e /go ]; do sleep 0.05; done
systemd-notify --ready STATUS="hers is alive"
while [ ! -e /dev/shm/hang ]; do systemd-notify WATCHDOG=1; sleep 0.1; done
systemd-notify STATUS="hers hangs"
while :; do sleep 0.1; done
"""


@everywhere
def test_a_service_of_hers(
    where: str, alice: User, hers: Container, her_service: str, wait_until: Callable[..., Any]
) -> None:
    """It is ready when its program says so, and is started again by the watchdog when that hangs."""
    with_tools(hers.bundle).sh(ALIVE)
    alice.run("unit", "--user", "--notify=container", f"--watchdog={WATCHDOG}", hers.name, check=True)
    alice.systemctl("daemon-reload", check=True)
    alice.systemctl("start", "--no-block", her_service, check=True)
    wait_until(lambda: alice.run("state", hers.name).returncode == 0, "the container")
    time.sleep(0.3)  # time to become ready by mistake
    assert alice.shows(her_service, "ActiveState") == "activating"
    (hers.bundle.rootfs / "go").touch()
    wait_until(lambda: alice.shows(her_service, "ActiveState") == "active", "it to be ready", seconds=10)

    pid = hers.state()["pid"]
    status = alice.systemctl("status", "--lines=0", "--full", her_service)
    assert 'Status: "hers is alive"' in status and f"─{pid} sh -c" in status
    assert f"─{alice.shows(her_service, 'MainPID')} " in status
    time.sleep(1.5 * WATCHDOG)  # longer than the watchdog waits
    assert (hers.state()["pid"], alice.shows(her_service, "NRestarts")) == (pid, "0")

    for verb, state in (("pause", "paused"), ("resume", "running")):
        alice.run(verb, hers.name, check=True)
        assert hers.state()["status"] == state
    # from outside of her systemd, which has to ask the machine's to have somebody in the service
    said = alice.run("exec", hers.name, "sh", "-c", "tail -n 1 /proc/self/cgroup; : >/dev/shm/hang", check=True)
    assert said.stdout == "0::/\n"
    wait_until(lambda: alice.shows(her_service, "NRestarts") == "1", "the watchdog", seconds=3 * WATCHDOG + 10)
    wait_until(lambda: alice.shows(her_service, "ActiveState") == "active", "it to be ready", seconds=10)
    assert hers.state()["pid"] != pid
    assert alice.shows(her_service, "StatusText") == "hers is alive"
    alice.systemctl("stop", her_service, check=True)
    assert alice.shows(her_service, "Result") == "success"
    assert alice.run("state", hers.name).returncode == 1


@everywhere
def test_sockets(where: str, alice: User, hers: Container) -> None:
    """Those that `run --socket` makes, and those of whoever starts her runtime as systemd does."""
    path = alice.directory / "web"
    with_server(hers.bundle)
    run = ["run", "--bundle", str(hers.bundle.path)]
    alice.run(*run, "--detach", f"--socket=web={path}", hers.name, check=True)
    assert page(str(path)) == "hello"
    shown = alice.systemctl("status", "--lines=0", "--full", f"pyoci-{hers.name}.scope")
    assert f"─{hers.state()['pid']} {' '.join(SERVER)}" in shown
    hers.delete()
    assert not path.exists()

    hers.bundle.args("python3", "-c", FOUND)
    options = [*(f"--setenv={name}={value}" for name, value in alice.environ.items()), f"--listen={path}"]
    with subprocess.Popen(
        [*alice.prefix(), "systemd-socket-activate", *options, "--fdname=hers", alice.runtime, *run, hers.name],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        connect(str(path))
        out, err = process.communicate(timeout=30 * SLOWER)
    assert process.returncode == 0, err
    assert json.loads(out) == {
        "LISTEN_FDS": "1", "LISTEN_FDNAMES": "hers", "own pid": True, "open": [0, 1, 2, 3], "at": [str(path)],
    }  # fmt: skip
    path.unlink()

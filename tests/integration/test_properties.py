"""Properties of the scope by name, in annotations and on the command line; and how systemd stops a container.

crun knows the annotations only, in fewer types, and says nothing of those that systemd does not take.

Seen red:
    said by systemctl     the options not handed to the plan
    too old               what systemd refuses left out, as it is for properties of the plan's own
    stopped as asked      no KillSignal from the image
    stopped in order      no After=, no Before=
"""

from __future__ import annotations

import copy
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Bundle, Container

pytestmark = pytest.mark.skipif(CRUN, reason="crun has no --property")

ANNOTATIONS = {"org.systemd.property.TimeoutStopSec": "uint64 7", "org.systemd.property.SendSIGHUP": "true"}


def shown(unit: str, *names: str) -> dict[str, str]:
    """Return properties as systemctl says them."""
    command = ["systemctl", "show", *(f"--property={name}" for name in names), unit]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    return dict(line.split("=", 1) for line in said.splitlines())


def systemd_version() -> int:
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    return int(said.split()[1])


def scope(container: Container) -> str:
    return f"pyoci-{container.name}.scope"


# option: what systemctl says of it, and the first systemd that has it
SAID = {
    "Description=a test's own": ("a test's own", 0),
    "KillSignal=USR2": ("12", 0),
    "KillMode=control-group": ("control-group", 0),
    "RuntimeMaxSec=1h 30min": ("1h 30min", 0),
    "After=basic.target": ("basic.target", 0),
    "IPAddressDeny=10.0.0.0/8": ("10.0.0.0/8", 0),
    "SocketBindDeny=tcp:8000-8001": ("tcp:8000-8001", 0),
    "RestrictNetworkInterfaces=lo": ("lo", 0),
    "ManagedOOMPreference=avoid": ("avoid", 0),
    "ManagedOOMMemoryPressureLimit=40%": ("1717986918", 0),
    "OOMPolicy=kill": ("kill", 0),
    "MemoryPressureWatch=skip": ("skip", 254),
    "CoredumpReceive=yes": ("yes", 255),
    "SurviveFinalKillSignal=yes": ("yes", 255),
}


def test_said_by_systemctl(container: Container) -> None:
    """What is asked for by an option or an annotation is what systemd has."""
    container.config["annotations"] = ANNOTATIONS
    known = {option: said for option, (said, since) in SAID.items() if since <= systemd_version()}
    container.create("exec sleep 1000", *(f"--property={option}" for option in known))
    for option, said in known.items():
        name = option.partition("=")[0].replace("Sec", "USec")
        # systemd 252 leaves the colon of a port out
        assert said.replace("tcp:", "tcp") in shown(scope(container), name)[name].replace("tcp:", "tcp"), option
    found = shown(scope(container), "TimeoutStopUSec", "SendSIGHUP")
    assert found == {"TimeoutStopUSec": "7s", "SendSIGHUP": "yes"}
    container.delete()


def test_updated(container: Container) -> None:
    """What may change while the scope lives does; the rest is refused."""
    container.create()
    container.run("update", "--property=IPAddressDeny=any", "--property=Description=b", container.name, check=True)
    found = shown(scope(container), "IPAddressDeny", "Description")
    assert sorted(found["IPAddressDeny"].split()) == ["0.0.0.0/0", "::/0"]
    assert found["Description"] == "b"
    done = container.run("update", "--property=KillMode=none", container.name)
    assert (done.returncode, done.stderr) == (1, "pyoci: --property: `KillMode`: it is fixed when the scope starts\n")
    container.delete()


@pytest.mark.parametrize("option", [option for option, (_, since) in SAID.items() if since])
def test_too_old(container: Container, option: str) -> None:
    """What this systemd does not know is an error, and nothing is left of it."""
    name, since = option.partition("=")[0], SAID[option][1]
    if systemd_version() >= since:
        pytest.skip("this systemd is new enough; the older machine is not")
    done = container.run("create", f"--property={option}", "--bundle", container.bundle.path, container.name)
    assert done.returncode == 1
    assert done.stderr == f"pyoci: `{scope(container)}`: `{name}` needs systemd {since} or newer\n"
    assert container.run("state", container.name).returncode == 1


def test_no_scope(container: Container) -> None:
    manager = ("--cgroup-manager=disabled", "create", "--property=KillSignal=INT")
    done = container.run(*manager, "--bundle", container.bundle.path, container.name)
    said = "pyoci: --property: there is no scope under the manager `disabled`\n"
    assert (done.returncode, done.stderr) == (1, said)


STOPPING = "trap 'echo {0} >/said; exit 0' {0}; : >/ready; while :; do sleep 0.1; done"


@pytest.mark.parametrize("signal", ["INT", "QUIT", "USR1"])
def test_stopped_as_the_image_asks(container: Container, wait_until: Callable[..., Any], signal: str) -> None:
    """`systemctl stop` sends the image's signal; the container ends by itself and the unit is gone."""
    rootfs = container.bundle.rootfs
    container.config["root"]["readonly"] = False
    container.config["annotations"] = {"org.opencontainers.image.stopSignal": f"SIG{signal}"}
    container.create(STOPPING.format(signal))
    container.start()
    wait_until((rootfs / "ready").exists, "the trap")
    subprocess.run(["systemctl", "stop", scope(container)], check=True, timeout=20)
    assert (rootfs / "said").read_text() == f"{signal}\n"
    assert container.state()["status"] == "stopped"
    container.delete()
    assert subprocess.run(["systemctl", "status", scope(container)], capture_output=True, timeout=10).returncode == 4


def test_killed_after_its_time(container: Container) -> None:
    """A first process that ignores the signal is killed when its time is over, and the unit is clean afterwards."""
    container.create("trap '' TERM; while :; do sleep 0.1; done", "--property=TimeoutStopSec=500ms")
    container.start()
    pid = container.state()["pid"]
    began = time.monotonic()
    subprocess.run(["systemctl", "stop", scope(container)], check=True, timeout=20)
    assert 0.5 <= time.monotonic() - began < 5
    assert not pathlib.Path(f"/proc/{pid}/exe").exists()
    assert container.state()["status"] == "stopped"
    container.delete()
    assert subprocess.run(["systemctl", "status", scope(container)], capture_output=True, timeout=10).returncode == 4


# says when it is asked to stop, and when it ends. Not by a `sleep` in between: systemd signals all processes of a scope, and
# whoever has come since
LINGERING = """
mkfifo /silence
say() { read now rest </proc/uptime; echo $1 $now >>/said; }
trap 'say asked; read -t 0.5 nothing <>/silence; say ended; exit 0' TERM
: >/ready; while :; do sleep 0.1; done
"""


@pytest.mark.parametrize("stop", ["scopes", "slice"])
@pytest.mark.parametrize("order", ["After", "Before"])
def test_stopped_in_order(
    container: Container, busybox_rootfs: pathlib.Path, wait_until: Callable[..., Any], stop: str, order: str
) -> None:
    """By one `systemctl stop` of two scopes, or of the slice that both are in: the order of a start, backwards."""
    rootfs, name, slice = container.bundle.rootfs, container.name, f"order{os.getpid()}.slice"
    container.config["root"]["readonly"] = False
    container.config["linux"]["cgroupsPath"] = f"{slice}::{name}"
    container.create(LINGERING)
    container.start()
    wait_until((rootfs / "ready").exists, "the trap")
    bundle = Bundle(container.bundle.path.parent / "other", copy.deepcopy(container.config))
    shutil.copytree(busybox_rootfs, bundle.rootfs, symlinks=True)
    bundle.config["linux"]["cgroupsPath"] = f"{slice}::{name}-other"
    other = Container(container.run, bundle, f"{name}-other")
    try:
        other.create(LINGERING, f"--property={order}={name}.scope")
        other.start()
        wait_until((bundle.rootfs / "ready").exists, "the other's trap")
        # systemctl asks for one after the other: the first may be on its way before systemd hears of the second
        scopes = [f"{name}.scope", f"{name}-other.scope"]
        units = [slice] if stop == "slice" else scopes[::-1] if order == "After" else scopes
        subprocess.run(["systemctl", "stop", *units], check=True, timeout=20)
        assert (container.state()["status"], other.state()["status"]) == ("stopped", "stopped")
    finally:
        other.delete()
        container.delete()
        subprocess.run(["systemctl", "stop", slice], check=True, timeout=20)
    first, second = (bundle.rootfs, rootfs) if order == "After" else (rootfs, bundle.rootfs)
    assert said(first)["ended"] <= said(second)["asked"]
    assert all(said(one)["ended"] - said(one)["asked"] > 0.4 for one in (first, second))


def said(rootfs: pathlib.Path) -> dict[str, float]:
    """Return what a lingering container said, and when."""
    return {word: float(when) for word, when in (line.split() for line in (rootfs / "said").read_text().splitlines())}

"""A machine that goes down ends its containers as their images ask, in the order of their units, each within its time.

It is seen from outside: the machine is the test's own, and each container writes what it hears, and when, into a
directory that both have.

Seen red:
    by systemd's jobs     DefaultDependencies=no for all: a scope hears SIGTERM, with all processes that are left, at the end
    as the image asks     no KillSignal from the image; the supervisor passes on SIGTERM as SIGTERM
    in order              no After=, no Before=
    with its service      DefaultDependencies=yes for all
    within its time       no TimeoutStopSec=: the machine waits 90 s
    one that comes late   DefaultDependencies=yes for all: what is attended is not made either
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci_systemd.spec.defaults import default_config
from tests.machine import debian, inside
from tests.machine.machine import Machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root boots a machine")

HER_ID = 1000
SECONDS_TO_GO = 60.0  # on a busy host; who is not stopped in time would hold the machine up for 90 s

# what each container runs: it says what it hears, and ends half a second later. Not by a `sleep` in between: systemd
# signals all processes of a scope, and whoever has come since
PROGRAM = """
mkfifo /dev/shm/silence
say() { read now rest </proc/uptime; echo $1 $now >>/said/NAME; }
ending() { say $1; read -t 0.5 nothing <>/dev/shm/silence; say end; exit 0; }
for signal in INT QUIT TERM USR1; do trap "ending $signal" $signal; done
say up
while :; do sleep 0.1; done
"""
DEAF = """
say() { read now rest </proc/uptime; echo $1 $now >>/said/NAME; }
trap 'say TERM' TERM
say up
while :; do say alive; sleep 0.1; done
"""
SIGNALS = {"first": "QUIT", "second": "TERM", "third": "TERM", "placed": "INT", "waited": "QUIT", "served": "USR1",
           "hers": "QUIT", "hers-served": "USR1", "deaf": "TERM"}  # fmt: skip
"""each container, and how its image asks to be stopped"""

# sh: what a service still does at its stop. Whoever attends to a container may have one; nobody else gets any
LATE = """
cd /shared
pyoci create --bundle late refused 2>said/refused
pyoci run --bundle late late
"""

# sh: the state of a machine in which all of them run
UP = f"""
set -e
mkdir -p /var/lib/pyoci
ln -s /shared/served /var/lib/pyoci/served
cd /shared
for name in first placed; do pyoci run --detach --bundle $name $name; done
pyoci run --detach --property After=pyoci-first.scope --bundle second second
pyoci run --detach --property Before=pyoci-first.scope --bundle third third
pyoci run --detach --property TimeoutStopSec=2 --bundle deaf deaf
systemctl start pyoci@served.service
on_the_bus="--property=After=dbus.socket --property=After=dbus.service"
systemd-run --quiet --unit=comes-late $on_the_bus --property=ExecStop='sh /shared/late.sh' sleep 1000
systemd-run --quiet --unit=waiting --property=Before=pyoci-third.scope pyoci run --bundle /shared/waited waited
useradd --create-home --uid {HER_ID} alice
loginctl enable-linger alice
systemctl start user@{HER_ID}.service
home=~alice
hers() {{ runuser -u alice -- env -i PATH=$PATH HOME=$home XDG_RUNTIME_DIR=/run/user/{HER_ID} "$@"; }}
hers mkdir -p $home/.local/share/pyoci
hers ln -s /shared/hers-served $home/.local/share/pyoci/hers-served
hers pyoci run --detach --bundle hers hers
hers systemctl --user start pyoci@hers-served.service
"""


def bundles(shared: pathlib.Path, busybox: pathlib.Path) -> None:
    """Make the bundles, of one root filesystem."""
    shared.chmod(0o755)
    (shared / "said").mkdir()
    (shared / "said").chmod(0o777)
    rootfs = shared / "rootfs"
    for directory in ("bin", "dev", "proc", "said", "sys", "tmp"):
        (rootfs / directory).mkdir(parents=True)
    shutil.copy2(busybox, rootfs / "bin")
    for applet in ("sh", "sleep", "mkfifo"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    for name, signal in SIGNALS.items():
        config: Any = default_config(name.startswith("hers"), uid=HER_ID, gid=HER_ID)
        config["root"]["path"] = "/shared/rootfs"
        config["annotations"] = {"org.opencontainers.image.stopSignal": f"SIG{signal}"}
        config["mounts"].append({"destination": "/said", "type": "bind", "source": "/shared/said", "options": ["bind"]})
        script = (DEAF if name == "deaf" else PROGRAM).replace("NAME", name)
        config["process"] |= {"terminal": False, "args": ["sh", "-c", script]}
        if name == "placed":  # as clients place theirs
            config["linux"]["cgroupsPath"] = "machine.slice:client:placed"
        (shared / name).mkdir()
        (shared / name / "config.json").write_text(json.dumps(config))
    config["process"]["args"] = ["sh", "-c", "echo made >/said/late"]
    (shared / "late").mkdir()
    (shared / "late/config.json").write_text(json.dumps(config))
    (shared / "late.sh").write_text(LATE)


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Machine]:
    """Return a machine in which all containers run."""
    suite: str = request.param
    tree = debian.tree(suite)
    bundles(tmp_path, tree / "usr/bin/busybox")
    one = Machine(f"shutdown-{suite}-{os.getpid()}")
    one.up(tree, [f"{inside.CHECKOUT}:/src", f"{tmp_path}:/shared"], owner=os.getpid())
    try:
        assert (inside.CHECKOUT / "build/stage").is_dir(), "nothing to install: `make stage`"
        inside.install(one, suite, [])
        assert one.run("sh", "-c", UP, timeout=120) == 0
        yield one
    finally:
        one.down()


def heard(shared: pathlib.Path, name: str) -> list[tuple[str, float]]:
    """Return what a container has said, and when."""
    path = shared / "said" / name
    lines = path.read_text().splitlines() if path.exists() else []
    return [(word, float(when)) for word, when in (line.split() for line in lines)]


def ends(machine: Machine) -> bool:
    """Wait for the end of a machine, of which its first process is the last."""
    first = pathlib.Path("/proc", (machine.directory / "leader").read_text())
    deadline = time.monotonic() + SECONDS_TO_GO
    while first.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not first.exists()


@pytest.mark.parametrize(("machine", "how"), [("trixie", "reboot"), ("bookworm", "poweroff")], indirect=["machine"])
def test_all_are_stopped_in_order_and_in_time(machine: Machine, how: str, tmp_path: pathlib.Path) -> None:
    for name in SIGNALS:
        deadline = time.monotonic() + 20
        while not heard(tmp_path, name) and time.monotonic() < deadline:
            time.sleep(0.01)
    began = time.monotonic()
    machine.run("systemctl", "--no-block", how)
    assert ends(machine), f"the machine does not go: {machine.log.read_text()}"
    took = time.monotonic() - began

    # who comes meanwhile
    assert (tmp_path / "said/late").read_text() == "made\n"
    assert "pyoci-refused.scope" in (refused := (tmp_path / "said/refused").read_text())
    assert "destructive" in refused
    assert refused.count("\n") == 1

    said = {name: heard(tmp_path, name) for name in SIGNALS}
    words = {name: [word for word, _ in lines if word != "alive"] for name, lines in said.items()}
    assert words == {
        name: ["up", signal] if name == "deaf" else ["up", signal, "end"] for name, signal in SIGNALS.items()
    }
    at = {name: dict(lines) for name, lines in said.items()}
    # the order of a start, backwards
    assert at["second"]["end"] <= at["first"]["QUIT"]
    assert at["first"]["end"] <= at["third"]["TERM"]
    assert at["third"]["end"] <= at["waited"]["QUIT"], "it is not stopped with the service that runs it"
    # who heeds nothing has its time, and no more
    assert 1.5 <= at["deaf"]["alive"] - at["deaf"]["TERM"] <= 5
    assert took < 30

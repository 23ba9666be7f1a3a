"""A container tells the service manager how it is (sd_notify(3)): systemd's own view of a service that runs it.

Seen red:
    what is passed on                     the table of systemd/notify.py emptied
    what is not                           every line passed on
    who is outside is not heard           is_inside() true for all
    the watchdog restarts who hangs       WATCHDOG=1 not passed on: it is taken for one that hangs
    reload waits for the program          the time of its clock passed on as ours
    kept descriptors                      FDSTORE=1 passed on without the annotation
crun 1.21 passes on READY=1 alone, and nothing for `run` in the foreground.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Podman
from tests.integration.exec_scene import cgroup
from tests.integration.program_scene import in_user_namespace
from tests.integration.service_scene import SOCKET, VERSION, Served, journal, now, ours, served, systemctl, units

__all__ = ["served", "units"]  # fixtures
pytestmark = ours


def test_ready_is_told_from_inside(served: Served) -> None:
    """`systemctl start` returns when the program has said so, and no earlier."""
    served.write("until [ -e /go ]; do sleep 0.05; done; systemd-notify --ready; exec sleep 1000")
    starting = subprocess.Popen(["systemctl", "start", served.unit])
    served.units.becomes(served.unit, "SubState", "start")
    time.sleep(0.3)  # time to become ready by mistake
    assert (served.show("ActiveState"), starting.poll()) == ("activating", None)
    (served.bundle.rootfs / "go").touch()
    assert starting.wait(10) == 0
    assert served.show("ActiveState") == "active"
    # the service is the runtime, which has the exit status
    assert int(served.show("MainPID")) != served.pid
    assert pathlib.Path(f"/proc/{served.show('MainPID')}/cmdline").read_bytes().endswith(f"{served.name}\0".encode())


def test_what_is_passed_on(served: Served) -> None:
    served.up()
    for lines, (what, value) in {
        ("STATUS=half of it, 50 %",): ("StatusText", "half of it, 50 %"),
        ("ERRNO=2",): ("StatusErrno", "2"),
        ("STATUS=äöü", "ERRNO=5"): ("StatusText", "äöü"),
        ("RELOADING=1", "MONOTONIC_USEC={now}"): ("ActiveState", "reloading"),
        ("READY=1",): ("ActiveState", "active"),
        ("WATCHDOG_USEC=77000000",): ("WatchdogUSec", "1min 17s"),
        ("STOPPING=1",): ("SubState", "stop-sigterm"),
    }.items():
        served.tells(*(line.format(now=time.monotonic_ns() // 1000) for line in lines))
        assert served.show(what) == value, lines


def test_what_is_not(served: Served) -> None:
    """Nothing from inside says who the service is, or who may speak for it."""
    served.up("FileDescriptorStoreMax=5")
    before = {what: served.show(what) for what in ("MainPID", "NotifyAccess", "NFileDescriptorStore", "BusName")}
    for said in (
        "MAINPID=1", "NOTIFYACCESS=all", "BUSERROR=x", "MAINPID=1\nSTATUS=with others", "EXIT_STATUS=3",
        "FDSTORE=1\nFDNAME=x",
    ):  # fmt: skip
        served.python(
            "with open('/dev/null') as null: socket.send_fds(s, [sys.argv[1].encode()], [null.fileno()])", said
        )
    assert {what: served.show(what) for what in before} == before
    assert served.show("StatusText") == "with others"
    served.python("s.send(b'STATUS='.ljust(9000, b'x'))")
    served.python("s.send(b'STATUS=a\\0b')")
    assert served.show("StatusText") == "with others"


def test_who_is_outside_is_not_heard(served: Served, run: Any) -> None:
    served.up()
    served.tells("STATUS=from inside")
    outside = f"/run/pyoci/{served.name}/notify/notify.sock"
    within = ["nsenter", f"--target={served.pid}", "--mount", "--pid", "--uts", "--ipc", "--net"]
    for command, address in ([], outside), (within, SOCKET):
        # the manager has the barrier, and so has seen all that it gets
        subprocess.run(
            [*command, "systemd-notify", "STATUS=from outside", "MAINPID=1"],
            env={"NOTIFY_SOCKET": address, "PATH": os.environ["PATH"]}, check=True, timeout=10,
        )  # fmt: skip
        assert served.show("StatusText") == "from inside"


def test_who_joined_is_heard(served: Served) -> None:
    """Also from a cgroup below the container's own, as a systemd inside has them."""
    served.up()
    below = cgroup(served.pid) / "below"
    below.mkdir()
    try:
        served.run(
            "exec", "--cgroup", "below", "--env", f"NOTIFY_SOCKET={SOCKET}", served.name,
            "systemd-notify", "STATUS=from below", check=True,
        )  # fmt: skip
        assert served.show("StatusText") == "from below"
    finally:
        served.units.remove()


def test_nobody_in_there_can_take_its_place(served: Served) -> None:
    served.up()
    for attempt in (f"rm {SOCKET}", f"touch {SOCKET}2", f"mv {SOCKET} /tmp", f"chmod 0 {SOCKET}"):
        done = served.run("exec", served.name, "sh", "-c", attempt)
        assert done.returncode != 0 and "Read-only file system" in done.stderr, attempt


def test_a_user_namespace(served: Served) -> None:
    in_user_namespace(served.bundle)
    os.chown(served.bundle.rootfs / "run", 100000, 100000)  # as an image of such a container is
    served.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    served.up(script="systemd-notify --ready STATUS=mapped; exec sleep 1000")
    assert served.show("StatusText") == "mapped"
    assert pathlib.Path(f"/proc/{served.pid}").stat().st_uid == 101000


def test_the_watchdog_restarts_who_hangs(served: Served) -> None:
    script = (
        "systemd-notify --ready STATUS=alive; while [ ! -e /dev/shm/hang ]; do systemd-notify WATCHDOG=1; sleep 0.1; done;"
        " systemd-notify STATUS=hangs; exec sleep 1000"
    )
    more = ("WatchdogSec=1", "Restart=on-watchdog", "RestartSec=0", "TimeoutAbortSec=1")
    served.up(*more, script=script)
    told = served.environment()
    assert (told["WATCHDOG_USEC"], told["WATCHDOG_PID"]) == ("1000000", "1")
    time.sleep(1.5)  # longer than the watchdog waits
    assert (served.show("SubState"), served.show("NRestarts"), served.show("StatusText")) == ("running", "0", "alive")
    first = served.pid
    served.run("exec", served.name, "touch", "/dev/shm/hang", check=True)
    served.units.becomes(served.unit, "NRestarts", "1")
    served.units.becomes(served.unit, "ActiveState", "active")
    assert served.pid != first
    assert served.show("StatusText") == "alive"


@pytest.mark.skipif(VERSION < 253, reason="Type=notify-reload is of systemd 253")
def test_reload_waits_for_the_program(served: Served) -> None:
    """Type=notify-reload: SIGHUP goes to the container by way of the runtime, RELOADING=1 and READY=1 come back."""
    served.config["linux"]["namespaces"].append({"type": "time"})
    served.config["linux"]["timeOffsets"] = {"monotonic": {"secs": -1}}
    script = """
import os, signal, socket, time
s = socket.socket(1, 2)
s.connect(os.environ["NOTIFY_SOCKET"])
def reload(*_):
    s.send(b"RELOADING=1\\nMONOTONIC_USEC=%d\\nSTATUS=reloading" % (time.monotonic_ns() // 1000))
    time.sleep(0.5)
    s.send(b"READY=1\\nSTATUS=reloaded")
signal.signal(signal.SIGHUP, reload)
s.send(b"READY=1")
while True:
    signal.pause()
"""
    (served.bundle.rootfs / "server.py").write_text(script)
    served.up("Type=notify-reload", script="exec python3 /server.py")
    begun = time.monotonic()
    systemctl("reload", served.unit)
    assert time.monotonic() - begun >= 0.5
    assert (served.show("StatusText"), served.show("Result")) == ("reloaded", "success")


def test_last_words(served: Served) -> None:
    """What a program says just before its end is heard, and its exit status is the service's."""
    script = "systemd-notify --ready; exec python3 /server.py"
    (served.bundle.rootfs / "server.py").write_text(
        "import os, socket\ns = socket.socket(1, 2)\ns.connect(os.environ['NOTIFY_SOCKET'])\n"
        "s.send(b'STATUS=it is full\\nERRNO=28')\nos._exit(7)\n"
    )
    served.up("RemainAfterExit=no", script=script)
    served.units.becomes(served.unit, "ActiveState", "failed")
    assert (served.show("ExecMainStatus"), served.show("StatusText")) == ("7", "it is full")
    assert served.show("StatusErrno") == "28"


@pytest.mark.parametrize("wanted", [True, False])
def test_kept_descriptors(served: Served, wanted: bool) -> None:
    """FDSTORE=1 where config.json says so; at the next start they come back as what sd_listen_fds(3) returns."""
    served.config["annotations"] = {"org.pyoci.fdstore": "true"} if wanted else {}
    served.up("FileDescriptorStoreMax=5", "FileDescriptorStorePreserve=yes")
    send = (
        "f = os.memfd_create('kept'); os.write(f, b'precious'); socket.send_fds(s, [b'FDSTORE=1\\nFDNAME=kept'], [f])"
    )
    served.python(send)
    assert served.show("NFileDescriptorStore") == str(int(wanted))
    if wanted:
        served.bundle.sh("systemd-notify --ready STATUS=$LISTEN_FDNAMES:$(head -c 8 /proc/self/fd/3); exec sleep 1000")
        systemctl("restart", served.unit)
        assert served.show("StatusText") == "kept:precious"


def test_a_flood_does_not_deafen_the_runtime(served: Served) -> None:
    """Who shouts waits: signals are passed on meanwhile, and the manager gets no more than it can take."""
    served.up(script="systemd-notify --ready; trap 'exit 9' TERM; while :; do sleep 0.1; done")
    flood = (
        "import time; end = time.monotonic() + 2\nwhile time.monotonic() < end: s.send(b'STATUS=%d' % time.time_ns())"
    )
    shouting = subprocess.Popen(
        [served.runtime, "exec", served.name, "python3", "-c",
         f"import socket; s = socket.socket(1, 2); s.connect({SOCKET!r}); " + flood]
    )  # fmt: skip
    served.units.becomes(served.unit, "SubState", "running")
    begun = time.monotonic()
    systemctl("kill", "--kill-whom=main", "--signal=TERM", served.unit)
    served.units.becomes(served.unit, "ExecMainStatus", "9")
    assert time.monotonic() - begun < 1.5
    shouting.wait(10)


# -- nobody stays: create and start, run --detach


def scripted(served: Served, *lines: str) -> str:
    """Return the path of a script of the host's, with the runtime as $R."""
    path = served.bundle.path / "script"
    path.write_text(
        "\n".join(["#!/bin/sh", f"R={served.runtime} B={served.bundle.path} ID={served.name}", *lines]) + "\n"
    )
    path.chmod(0o755)
    return str(path)


def test_start_waits_until_it_is_ready(served: Served) -> None:
    """And names the container's first process as the service's main process: the runtime leaves."""
    start = scripted(served, '$R create --bundle "$B" $ID && $R start $ID && touch $B/started; exec sleep 1000')
    started = served.bundle.path / "started"
    script = "until [ -e /go ]; do sleep 0.05; done; systemd-notify --ready STATUS=up; systemd-notify STATUS=later; sleep 1000"
    served.write(script, "NotifyAccess=all", start=start)
    starting = subprocess.Popen(["systemctl", "start", served.unit])
    served.units._wait_until(lambda: served.run("state", served.name).returncode == 0 and served.pid, "a container")
    time.sleep(0.3)  # time to return by mistake
    assert not started.exists() and starting.poll() is None
    (served.bundle.rootfs / "go").touch()
    assert starting.wait(10) == 0
    served.units._wait_until(started.exists, "`start` to return")
    assert (served.show("MainPID"), served.show("StatusText")) == (str(served.pid), "up")
    # who speaks later is told that nobody listens
    assert served.run("exec", "--env", f"NOTIFY_SOCKET={SOCKET}", served.name, "systemd-notify", "STATUS=x").returncode


def test_run_detached_waits_too(served: Served) -> None:
    start = f"{served.runtime} run --detach --bundle {served.bundle.path} {served.name}"
    served.up(start=start, script="systemd-notify --ready STATUS=up; exec sleep 1000")
    assert (served.show("ActiveState"), served.show("StatusText")) == ("active", "up")
    assert served.show("MainPID") == str(served.pid)
    assert "WATCHDOG_USEC" not in served.environment()


@pytest.mark.parametrize("verb", ["start", "run"])
def test_ended_before_it_was_ready(served: Served, verb: str) -> None:
    create = '$R create --bundle "$B" $ID && $R start $ID'
    start = scripted(served, create if verb == "start" else '$R run --detach --bundle "$B" $ID')
    since = now()
    served.write("sleep 0.2; exit 3", "NotifyAccess=all", start=start)
    assert systemctl("start", served.unit, check=False).returncode != 0
    assert f"container `{served.name}` ended before it was ready" in journal(served.unit, since)
    if verb == "run":
        assert served.run("state", served.name).returncode != 0, "what fails leaves nothing behind"


def test_detached_run_can_be_interrupted(served: Served) -> None:
    """Who waits for a program that never gets ready stops at once when asked to, and takes the container along."""
    served.write("exec sleep 1000", start=f"{served.runtime} run --detach --bundle {served.bundle.path} {served.name}")
    systemctl("start", "--no-block", served.unit)
    served.units._wait_until(lambda: served.run("state", served.name).returncode == 0 and served.pid, "a container")
    begun = time.monotonic()
    systemctl("stop", served.unit)
    assert time.monotonic() - begun < 1.5
    assert served.run("state", served.name).returncode != 0


def test_without_a_manager_nothing_is_there(served: Served) -> None:
    served.bundle.sh("env; ls /run")
    done = served.run("run", "--bundle", served.bundle.path, served.name, check=True)
    assert "NOTIFY_SOCKET" not in done.stdout and "notify" not in done.stdout


@pytest.mark.parametrize(("address", "words"), [
    ("nonsense", "NOTIFY_SOCKET: `nonsense` is no socket"), ("vsock:2:1", "(vsock) is not supported"),
])  # fmt: skip
def test_an_address_that_is_none(served: Served, address: str, words: str) -> None:
    served.bundle.sh("true")
    done = served.run("run", "--bundle", served.bundle.path, served.name, env={**os.environ, "NOTIFY_SOCKET": address})
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1) and words in done.stderr


# -- podman: conmon listens there itself


@pytest.mark.parametrize("who", ["container", "conmon"])
def test_podman(podman: Podman, units: Any, tmp_path: pathlib.Path, who: str, wait_until: Callable[..., Any]) -> None:
    name, tools = f"podman-notify-{os.getpid()}", ("/usr", "/lib", "/lib64")
    says = "systemd-notify --ready;" if who == "container" else ""
    start = tmp_path / "start"
    start.write_text(
        f"#!/bin/sh\nexec podman --runtime {podman.runtime} run --rm --name={name} --sdnotify={who} --network=none"
        f" --pids-limit=0 {' '.join(f'--volume={path}:{path}:ro' for path in tools)} {podman.image}"
        f" sh -c \"trap 'exit 0' TERM; {says} while :; do sleep 0.1; done\"\n"
    )
    start.chmod(0o755)
    units.write(f"{name}.service", f"[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=20\nExecStart={start}\n")
    systemctl("start", name)
    assert units.show(name, "ActiveState") == "active"
    assert pathlib.Path(f"/proc/{units.show(name, 'MainPID')}/comm").read_text() == "conmon\n"
    systemctl("stop", name)
    wait_until(lambda: podman("container", "exists", name, check=False).returncode == 1, "the container to go")

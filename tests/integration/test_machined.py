"""Containers that systemd-machined lists, asked by machinectl and busctl: `--machine`, its refusals, and its end.

crun has nothing of the kind.

Seen red:
    listed, terminate, killed      nothing registered; state that does not say it
    not unasked                    every container registered by its id
    the machine id                 no id sent
    names                          labels that end in a dash taken
    a hook sees it, and undone     registered after the hooks
    two of one name                neither asked about before, nor an error when machined says it
    one of many                    no error when machined says it
    free when delete returns       delete that forgets nothing
    another has the name           the machine of the name unregistered, whosever it is
    without machined               errors of the bus raised by `forget`; doctor that finds it everywhere
    machined hangs                 errors of the bus raised by `forget`
    in a service                   delete that forgets nothing
    undone in a service            undo that forgets nothing
    a service that is a machine    asked for all the same: machined stops the service
    a unit that is not its own     not looked at
    no unit                        managers without units taken
    a killed create                a machine of which no pid is known taken for another's
    an annotation                  it counts unasked
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd.plan.machine import is_name
from tests.integration.conftest import CRUN, Bundle, Container, Run
from tests.integration.machined_scene import MACHINED, absent, asked, call, machines, masked, shown, stopped
from tests.integration.needs import SLOWER
from tests.integration.service_scene import Units, systemctl, units

__all__ = ["units"]
pytestmark = pytest.mark.skipif(CRUN, reason="crun registers nothing")

LISTENS = "trap 'exit 3' TERM; while :; do sleep 0.1; done"


def scope(container: Container) -> str:
    return f"pyoci-{container.name}.scope"


@pytest.fixture
def name(container_id: str) -> str:
    """Return the name of a machine."""
    return f"m-{container_id}.example"


def refusal(container: Container, *options: str) -> str:
    """Fail unless create fails, and leaves nothing; return what it says."""
    container.bundle.write()
    globals_ = [option for option in options if option.startswith(("--cgroup", "--machine-a"))]
    rest = [option for option in options if option not in globals_]
    done = container.run(*globals_, "create", *rest, "--bundle", container.bundle.path, container.name)
    assert done.returncode == 1, done
    assert container.run("state", container.name).returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("pyoci: ").rstrip("\n")


# -- listed


def test_listed(container: Container, name: str) -> None:
    """It is what was said, the scope stays the runtime's, and with the container it is gone at once."""
    container.create("exec sleep 1000", "--machine", name)
    said = shown(name)
    assert (said["Unit"], said["Leader"]) == (scope(container), str(container.state()["pid"]))
    assert (said["Service"], said["Class"], said["State"]) == ("pyoci", "container", "running")
    assert said["RootDirectory"] == str(container.bundle.rootfs)
    assert container.state()["systemd-machine"] == name
    assert (
        asked("systemctl", "show", "--value", "--property=Documentation", scope(container))
        .split()[-1]
        .endswith(f"/{container.name}")
    )
    container.start()
    assert scope(container) in asked("machinectl", "status", "--no-pager", name)
    container.delete()
    assert machines() == []


def test_not_unasked(container: Container) -> None:
    container.create()
    assert machines() == []
    assert "systemd-machine" not in container.state()
    container.delete()


def test_the_machine_id(container: Container, name: str) -> None:
    """It is what a systemd in the container would take for its own."""
    container.config["process"]["env"] += ["container_uuid=00112233-4455-6677-8899-aabbccddeeff"]
    container.create("exec sleep 1000", "--machine", name)
    path = call("GetMachine", "s", name).split()[1].strip('"')
    said = asked("busctl", "get-property", MACHINED, path, f"{MACHINED}.Machine", "Id").split()
    assert bytes(int(byte) for byte in said[2:]).hex() == "00112233445566778899aabbccddeeff"
    container.delete()


NAMES = ["a", "A", "1", "a.b", "a-b", "a--b", "localhost", "x" * 64, "x" * 65, "", ".", ".host", "a.", ".a", "a..b", "a-",
         "a-.b", "a.-b", "a_b", "_a", "a b", "ä", "a/b", "a\n", "-a", "xn--a", "a." * 31 + "a", "1.2.3.4"]  # fmt: skip


def test_names(container: Container) -> None:
    """What we take for a name is what machined takes, and the rest is refused before anything is done."""
    container.create()
    pid, mine = str(container.state()["pid"]), {}
    for text in NAMES:
        register = ["RegisterMachineWithNetwork", "sayssusai", "--", text, "0", "test", "container", pid, "/", "0"]
        mine[text] = bool(call(*register, check=False))
        if mine[text]:
            call("UnregisterMachine", "s", text)
    assert {text: is_name(text) for text in NAMES} == mine
    container.delete()
    for text in ("a_b", "x" * 65, "a."):
        told = refusal(container, "--machine", text)
        assert told.startswith(f'--machine: "{text[:61]}')
        assert told.endswith("is not the name of a machine: up to 64 letters, digits, and dashes and dots between them")


# -- not listed


def test_a_hook_sees_it_and_undone(container: Container, name: str, tmp_path: pathlib.Path) -> None:
    """A create that fails after that undoes it."""
    script = f"exec >{tmp_path}/seen 2>&1; machinectl show {name} --property=Unit; exit 1"
    container.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    assert "hook" in refusal(container, "--machine", name)
    assert (tmp_path / "seen").read_text() == f"Unit={scope(container)}\n"
    assert machines() == []


def test_two_of_one_name(container: Container, run: Run, name: str) -> None:
    """The first keeps its name, its unit and its life."""
    container.create(LISTENS, "--machine", name)
    container.start()
    second = Container(run, container.bundle, f"{container.name}-b")
    assert refusal(second, "--machine", name) == f"machine `{name}` already exists"
    assert shown(name)["Unit"] == scope(container)
    assert container.state()["status"] == "running"
    container.delete()


def test_one_of_many(bundle: Bundle, runtime: str, run: Run, name: str, container_id: str) -> None:
    """Of those that ask for one name at the same time one gets it, and the others leave nothing."""
    bundle.sh("exec sleep 1000")
    ids = [f"{container_id}-{number}" for number in range(6)]
    command = [runtime, "create", "--machine", name, "--bundle", str(bundle.path)]
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    racing = [subprocess.Popen([*command, one], **how) for one in ids]
    codes = [process.wait(60 * SLOWER) for process in racing]
    there = [one for one in ids if run("state", one).returncode == 0]
    assert sorted(codes) == [0, 1, 1, 1, 1, 1]
    assert there == [one for one, code in zip(ids, codes, strict=True) if code == 0]
    assert machines() == [name]
    assert shown(name)["Unit"] == f"pyoci-{there[0]}.scope"
    run("delete", "--force", there[0], check=True)


# -- the end


def test_terminate(container: Container, name: str, wait_until: Callable[..., Any]) -> None:
    """machinectl stops the scope, as systemctl would."""
    container.create(LISTENS, "--machine", name)
    container.start()
    asked("machinectl", "terminate", name)
    wait_until(lambda: container.state()["status"] == "stopped", "its end")
    wait_until(lambda: machines() == [], "machined to forget it")
    container.run("delete", container.name, check=True)


def test_killed(container: Container, name: str, wait_until: Callable[..., Any]) -> None:
    container.create("exec sleep 1000", "--machine", name)
    container.start()
    asked("machinectl", "kill", "--signal=KILL", name)
    wait_until(lambda: container.state()["status"] == "stopped", "its end")
    container.run("delete", container.name, check=True)
    assert machines() == []


def test_free_when_delete_returns(
    container: Container, runtime: str, name: str, wait_until: Callable[..., Any]
) -> None:
    """machined hears from systemd that a scope is gone; delete waits for that, so the next can have the name."""
    container.create("exec sleep 1000", "--machine", name)
    with stopped():
        deleting = subprocess.Popen([runtime, "delete", "--force", container.name], stdin=subprocess.DEVNULL)
        wait_until(lambda: not pathlib.Path(f"/sys/fs/cgroup/system.slice/{scope(container)}").exists(), "its end")
        time.sleep(0.2)  # for a delete that waits for nobody
        assert deleting.poll() is None
    assert deleting.wait(10 * SLOWER) == 0
    assert machines() == []


def test_another_has_the_name(container: Container, run: Run, name: str, wait_until: Callable[..., Any]) -> None:
    """Who took the name of a container that has died keeps it when that is deleted."""
    container.create("exec sleep 1000", "--machine", name)
    container.start()
    container.run("kill", container.name, "KILL", check=True)
    wait_until(lambda: machines() == [], "machined to forget it")
    second = Container(run, container.bundle, f"{container.name}-b")
    second.create("exec sleep 1000", "--machine", name)
    container.run("delete", container.name, check=True)
    assert shown(name)["Unit"] == scope(second)
    second.delete()


@pytest.mark.parametrize(
    ("gone", "told"),
    [(masked, "Unit systemd-machined.service is masked"), (absent, "there is no systemd-machined")],
    ids=["masked", "absent"],
)
def test_without_machined(container: Container, run: Run, name: str, gone: Any, told: str) -> None:
    """To ask for it is an error; to delete who has had it is none."""
    container.create("exec sleep 1000", "--machine", name)
    with gone():
        second = Container(run, container.bundle, f"{container.name}-b")
        assert refusal(second, "--machine", f"b-{name}") == f"machine `b-{name}`: {told}"
        said = {finding["subject"]: finding for finding in json.loads(run("doctor", "--json").stdout)}["machined"]
        assert said["verdict"] == ("note" if gone is absent else "ok")
        done = run("delete", "--force", container.name, check=True)
        assert done.stderr == ""
    assert machines() == []


def test_machined_hangs(container: Container, run: Run, name: str) -> None:
    """delete waits for it no longer than it must, and says so."""
    container.create("exec sleep 1000", "--machine", name)
    with stopped():
        begun = time.monotonic()
        done = run("--log-level=warning", "delete", "--force", container.name, check=True)
        assert 4 < time.monotonic() - begun < 15 * SLOWER
        assert done.stderr == f"pyoci: warning: machine `{name}`: GetMachine: no answer within 5 s\n"
    assert machines() == []


# -- services


def serve(units: Units, runtime: str, bundle: Bundle, container_id: str, *options: str) -> str:
    """Run a container in the cgroup of a service that lives on after it; return the name of that."""
    unit = f"{container_id}.service"
    command = f"{runtime} --cgroup-manager=split run --bundle {bundle.path} {' '.join(options)} {container_id}"
    units.write(unit, f"[Service]\nDelegate=yes\nTimeoutStopSec=2\nExecStart=/bin/sh -c '{command}; exec sleep 1000'\n")
    systemctl("start", unit)
    return unit


def test_in_a_service(
    units: Units, runtime: str, bundle: Bundle, container: Container, name: str, wait_until: Callable[..., Any]
) -> None:
    """The unit is the service's, which lives on when the container is gone, and then is no machine."""
    bundle.sh("exec sleep 1000")
    unit = serve(units, runtime, bundle, container.name, "--machine", name)
    wait_until(lambda: machines() == [name], "the machine")
    assert shown(name)["Unit"] == unit
    wait_until(lambda: container.run("state", container.name).returncode == 0, "its state")
    wait_until(lambda: container.state()["status"] == "running", "it to run")
    container.run("kill", container.name, "KILL", check=True)
    wait_until(lambda: container.run("state", container.name).returncode == 1, "its end")
    assert machines() == []
    assert units.show(unit, "ActiveState") == "active"


def test_undone_in_a_service(
    units: Units, runtime: str, bundle: Bundle, container_id: str, name: str, wait_until: Callable[..., Any]
) -> None:
    """A run that fails is no machine afterwards, although the service lives on."""
    script = f"exec >{bundle.path}/seen 2>&1; machinectl show {name} --property=Unit; exit 1"
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    bundle.sh("exec sleep 1000")
    unit = serve(units, runtime, bundle, container_id, "--machine", name)
    pid = units.show(unit, "MainPID")
    wait_until(lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the failure")
    assert (bundle.path / "seen").read_text() == f"Unit={unit}\n"
    assert machines() == []


def test_a_service_that_is_a_machine(
    units: Units, runtime: str, bundle: Bundle, container_id: str, name: str, wait_until: Callable[..., Any]
) -> None:
    """machined would stop a unit that it is told of twice."""
    bundle.sh("exec sleep 1000")
    command = f"{runtime} --cgroup-manager=split run --bundle {bundle.path} --machine {name} {container_id}"
    first = f"busctl call {MACHINED} /{MACHINED.replace('.', '/')} {MACHINED}.Manager RegisterMachine sayssus"
    script = f"{first} other-{name} 0 test container $$ /; {command} 2>{bundle.path}/said; exec sleep 1000"
    unit = f"{container_id}.service"
    (bundle.path / "script").write_text(script)
    units.write(unit, f"[Service]\nDelegate=yes\nTimeoutStopSec=2\nExecStart=/bin/sh {bundle.path}/script\n")
    systemctl("start", unit)
    said = bundle.path / "said"
    wait_until(lambda: said.exists() and said.read_text().endswith("\n"), "the refusal")
    assert said.read_text() == f"pyoci: `{unit}` is the machine `other-{name}` already\n"
    assert machines() == [f"other-{name}"]
    time.sleep(0.2)  # for machined to stop it
    assert units.show(unit, "ActiveState") == "active"
    call("UnregisterMachine", "s", f"other-{name}")


def test_a_unit_that_is_not_its_own(run: Run, runtime: str, bundle: Bundle, container_id: str, name: str) -> None:
    """Below a cgroup that a service has made, machined would take the whole service for the container."""
    bundle.sh("exec sleep 1000")
    script = (
        "c=/sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup | tail -1); mkdir $c/sub; echo 0 >$c/sub/cgroup.procs; "
        f"exec {runtime} --cgroup-manager=split create --bundle {bundle.path} --machine {name} {container_id}"
    )
    unit = f"{container_id}.service"
    wrapped = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}", "--property=Delegate=yes"]
    done = subprocess.run([*wrapped, "sh", "-c", script], capture_output=True, text=True, timeout=20 * SLOWER)
    assert done.stderr == f"pyoci: --machine: machined would take the whole of `{unit}` for the container\n"
    assert machines() == []


@pytest.mark.parametrize("manager", ["cgroupfs", "disabled"])
def test_no_unit(container: Container, name: str, manager: str) -> None:
    told = f"--machine: there is no unit under the manager `{manager}`, and by that machined knows a machine"
    assert refusal(container, f"--cgroup-manager={manager}", "--machine", name) == told


@pytest.mark.parametrize("split", [False, True], ids=["scope", "service"])
def test_a_killed_create(
    units: Units, run: Run, runtime: str, bundle: Bundle, container_id: str, name: str, split: bool,
    wait_until: Callable[..., Any],
) -> None:  # fmt: skip
    """`delete --force` clears what the kill has left with machined, too."""
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo >{bundle.path}/waits; exec sleep 1000"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    bundle.sh("exec sleep 1000")
    if split:
        serve(units, runtime, bundle, container_id, "--detach", "--machine", name)
    else:
        how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        command = [runtime, "create", "--machine", name, "--bundle", str(bundle.path), container_id]
        creating = subprocess.Popen(command, **how)
    wait_until((bundle.path / "waits").exists, "the hook")
    assert machines() == [name]
    [pid] = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if running(pid, container_id)]
    os.kill(pid, signal.SIGKILL)
    if not split:
        creating.wait(10 * SLOWER)
    run("delete", "--force", container_id, check=True)
    assert machines() == []


def running(pid: int, container_id: str) -> bool:
    """Is it the runtime at work on the container."""
    with contextlib.suppress(OSError):
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return words[-2:] == [container_id.encode(), b""] and any(word.endswith(b"pyoci") for word in words)
    return False


# -- who decides


def test_an_annotation(container: Container, name: str) -> None:
    """It may have come with an image: so it counts where the host says so, and never against the command line."""
    name = name.removesuffix(".example")
    container.config["annotations"] = {"org.pyoci.machine": name}
    where = "config.json: annotations: org.pyoci.machine"
    assert refusal(container) == f"{where}: it must not be set by an annotation, only by `--machine`"
    container.bundle.sh("exec sleep 1000")
    create = ["create", "--bundle", str(container.bundle.path)]
    container.run("--machine-annotation", *create, container.name, check=True)
    assert machines() == [name]
    container.delete()
    container.run("--machine-annotation", *create, f"--machine=b-{name}", container.name, check=True)
    assert machines() == [f"b-{name}"]
    container.delete()
    for text, told in {"a_b": "is not the name of a machine", "a.b": "may be the name of another host"}.items():
        container.config["annotations"] = {"org.pyoci.machine": text}
        assert refusal(container, "--machine-annotation").startswith(f'{where}: "{text}" {told}')

"""The MUSTs of runtime.md: the state, the life of a container, and the operations."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration import leaks
from tests.integration.conftest import Bundle, Container, Run
from tests.integration.must_scene import crun_does_not
from tests.unit.bad_configs import put
from tests.unit.bad_documents import Change

Wait = Callable[..., Any]
SCHEMA = pathlib.Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")
# What the program of `proven` leaves when it runs.
PROOF = "echo ran >>/proof; exec sleep 1000"


@pytest.fixture
def proven(container: Container) -> Container:
    """Return a container whose program leaves a proof."""
    container.config["root"]["readonly"] = False
    return container


def ran(container: Container) -> bool:
    """Say whether its program has run."""
    return (container.bundle.rootfs / "proof").exists()


def stop(container: Container, wait_until: Wait) -> None:
    """End its process."""
    container.run("kill", container.name, "KILL", check=True)
    wait_until(lambda: container.state()["status"] == "stopped", "the container to stop")


def reach(container: Container, status: str, wait_until: Wait) -> None:
    """Bring a container into a status."""
    container.create(PROOF)
    if status in ("running", "stopped"):
        container.start()
        wait_until(lambda: ran(container), "the program to run")
    if status == "stopped":
        stop(container, wait_until)
    assert container.state()["status"] == status


STATUS = ["created", "running", "stopped"]


@pytest.mark.parametrize("status", STATUS)
def test_must_ST1(proven: Container, wait_until: Wait, status: str) -> None:
    """The state names version, id, status, the pid of a process while there is one, and the bundle's absolute path."""
    reach(proven, status, wait_until)
    state = proven.state()
    assert (state["id"], state["status"], state["bundle"]) == (proven.name, status, str(proven.bundle.path))
    assert [int(part) for part in state["ociVersion"].split(".")] >= [1, 0, 0]
    if status != "stopped":
        namespace = os.readlink(f"/proc/{state['pid']}/ns/mnt")
        assert namespace != os.readlink("/proc/self/ns/mnt")
    proven.delete()


def test_must_ST1_relative(proven: Container, run: Run) -> None:
    proven.bundle.sh(PROOF)
    run("create", "--bundle", "bundle", proven.name, cwd=proven.bundle.path.parent, check=True)
    assert proven.state()["bundle"] == str(proven.bundle.path)
    proven.delete()


@crun_does_not("takes an id twice in two directories of state (D4)")
def test_must_ST1_unique(proven: Container, run: Run, tmp_path: pathlib.Path) -> None:
    """An id is taken once on a host: two containers would share a scope."""
    proven.create(PROOF)
    other = run("--root", tmp_path / "root", "create", "--bundle", proven.bundle.path, proven.name)
    run("--root", tmp_path / "root", "delete", "--force", proven.name)
    assert other.returncode != 0
    assert proven.state()["status"] == "created"
    proven.delete()


@pytest.mark.parametrize("status", STATUS)
def test_must_ST2(proven: Container, wait_until: Wait, status: str) -> None:
    """The statuses of the specification have its names; another name is for something else: paused."""
    reach(proven, status, wait_until)
    proven.delete()


def test_must_ST2_paused(proven: Container, run: Run, wait_until: Wait) -> None:
    reach(proven, "running", wait_until)
    if run("pause", proven.name).returncode == 0:
        assert proven.state()["status"] == "paused"
        run("resume", proven.name, check=True)
    assert proven.state()["status"] == "running"
    proven.delete()


@pytest.mark.skipif(not (SCHEMA / "state-schema.json").exists(), reason="the official schema is not installed")
@pytest.mark.parametrize("status", STATUS)
@pytest.mark.parametrize("annotations", [{}, {"a": "b", "c": ""}], ids=str)
def test_must_ST3(proven: Container, wait_until: Wait, status: str, annotations: dict[str, str]) -> None:
    """The state conforms to the schema of the specification."""
    import jsonschema

    proven.config["annotations"] = annotations
    reach(proven, status, wait_until)
    schema = json.loads((SCHEMA / "state-schema.json").read_text())
    definitions = json.loads((SCHEMA / "defs.json").read_text())
    text = json.dumps(schema).replace('"defs.json#/definitions/', '"#/definitions/').replace("defs.json#", "#")
    joined = json.loads(text)
    joined["definitions"] = {**definitions["definitions"], **joined.get("definitions", {})}
    assert list(jsonschema.Draft4Validator(joined).iter_errors(proven.state())) == []
    proven.delete()


def test_must_LC1(proven: Container, wait_until: Wait) -> None:
    """create makes what the config says; the program runs at start and not before."""
    proven.config["hostname"] = "made-by-create"
    proven.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "made-by-create"})
    proven.create(PROOF)
    pid = proven.state()["pid"]
    assert " /tmp " in pathlib.Path(f"/proc/{pid}/mountinfo").read_text()
    for namespace in ("pid", "net", "ipc", "uts", "mnt", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")
    assert not ran(proven)
    proven.start()
    wait_until(lambda: ran(proven), "the program to run")
    proven.delete()


BAD: dict[str, Change] = {
    "a mount": put(
        "mounts.6", {"destination": "/tmp", "type": "bind", "source": "/no/such/thing", "options": ["bind"]}
    ),
    "a namespace": put("linux.namespaces.0", {"type": "pid", "path": "/no/such/namespace"}),
    "cwd": put("process.cwd", "/bin/busybox"),
    "the root": put("root.path", "nowhere"),
    "a sysctl": put("linux.sysctl", {"net.no.such.thing": "1"}),
    "a rule": put("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTHING"}),
}


def test_must_LC5(proven: Container, wait_until: Wait) -> None:
    """Delete undoes what create did."""
    before = leaks.snapshot()
    reach(proven, "stopped", wait_until)
    assert leaks.compare(before, leaks.snapshot()), "a container is something that can be seen"
    proven.run("delete", proven.name, check=True)
    assert leaks.leaked(before) == []


CRUN_CANNOT = {
    "a namespace": crun_does_not("leaves a cgroup behind"),
    "cwd": crun_does_not("start returns before it fails"),
}
BAD_ONES = [pytest.param(name, marks=CRUN_CANNOT.get(name, ())) for name in BAD]


@pytest.mark.parametrize("bad", BAD_ONES)
def test_must_LC6(container: Container, run: Run, bad: str) -> None:
    """An error leaves everything as if nothing had been tried: the same id can be had at once."""
    before = leaks.snapshot()
    good = json.dumps(container.config)
    BAD[bad](container.config)
    container.bundle.write()
    # `cwd` may show at start only: then that is what fails, and delete is what undoes it
    created = run("create", "--bundle", container.bundle.path, container.name)
    if created.returncode == 0:
        assert run("start", container.name).returncode != 0
        container.delete()
    assert leaks.leaked(before) == []
    container.bundle.config = json.loads(good)
    assert container.says("echo inside") == "inside"


@crun_does_not("has no warnings: what it does not know is an error (D13)")
def test_must_LC7(container: Container, run: Run, tmp_path: pathlib.Path) -> None:
    """A warning goes to the log, and changes nothing else."""
    container.config["process"]["capabilities"]["bounding"].append("CAP_OF_THE_FUTURE")
    log = tmp_path / "log"
    container.bundle.sh("echo inside; exit 7")
    done = run("--log", log, "--log-level=warning", "run", "--bundle", container.bundle.path, container.name)
    assert (done.stdout, done.returncode) == ("inside\n", 7)
    assert log.read_text()


def test_must_LC8(proven: Container, run: Run, wait_until: Wait) -> None:
    """Who creates a container can do all the operations on it."""
    proven.create(PROOF)
    for operation in (["state"], ["start"], ["state"], ["kill"], ["state"]):
        run(*operation, proven.name, *(["KILL"] if operation == ["kill"] else []), check=True)
    wait_until(lambda: proven.state()["status"] == "stopped", "the container to stop")
    run("delete", proven.name, check=True)


def without_a_container(run: Run, verb: str, words: list[str]) -> None:
    """Fail unless a verb fails that names no container."""
    done = run(verb, *words)
    assert done.returncode != 0
    assert done.stderr.strip()
    assert not done.stdout


NOBODY: list[list[str]] = [[], ["no-such-container"], [""], ["../x"]]


@pytest.mark.parametrize("words", NOBODY, ids=str)
def test_must_OP_S1(run: Run, words: list[str]) -> None:
    """state without an id, or with one that nobody has, is an error."""
    without_a_container(run, "state", words)


def test_must_OP_S1_state(proven: Container, wait_until: Wait) -> None:
    reach(proven, "running", wait_until)
    assert {"ociVersion", "id", "status", "pid", "bundle"} <= set(proven.state())
    proven.delete()


IDS = ["", ".", "..", "a/b", "/", "a b", "a\nb", "-\n", "ä", "a%s\x01"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(it, marks=crun_does_not("takes it")) if it in ("a b", "a\nb", "-\n", "ä", "a%s\x01") else it
        for it in IDS
    ],
    ids=repr,
)
def test_must_OP_C1(bundle: Bundle, run: Run, name: str) -> None:
    """create needs a bundle, and an id that is valid."""
    assert run("create", "--bundle", bundle.path, "--", name).returncode != 0


def test_must_OP_C1_arguments(bundle: Bundle, run: Run, container_id: str) -> None:
    assert run("create", "--bundle", bundle.path).returncode != 0
    assert run("create", "--bundle", bundle.path / "nowhere", container_id).returncode != 0
    assert run("create", container_id, cwd="/").returncode != 0
    assert run("state", container_id).returncode != 0


@pytest.mark.parametrize("status", STATUS)
def test_must_OP_C1_taken(proven: Container, run: Run, wait_until: Wait, status: str) -> None:
    reach(proven, status, wait_until)
    before = proven.state()
    assert run("create", "--bundle", proven.bundle.path, proven.name).returncode != 0
    assert proven.state() == before
    proven.delete()


def test_must_OP_C2(proven: Container) -> None:
    """create creates a container."""
    proven.create(PROOF)
    assert proven.state()["status"] == "created"
    proven.delete()


def test_must_OP_C3(proven: Container, wait_until: Wait) -> None:
    """Everything but process is applied by create; process.args is not."""
    proven.config["hostname"] = "applied"
    proven.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    proven.config["linux"]["devices"] = [{"type": "p", "path": "/dev/applied"}]
    proven.create("{ hostname; cat /proc/sys/net/ipv4/ip_forward; } >/proof")
    root = pathlib.Path(f"/proc/{proven.state()['pid']}/root")
    assert (root / "dev/applied").is_fifo()
    assert not ran(proven)
    proven.start()
    wait_until(lambda: proven.state()["status"] == "stopped", "the container to stop")
    assert (proven.bundle.rootfs / "proof").read_text() == "applied\n1\n"
    proven.delete()


@pytest.mark.parametrize("bad", [it for it in BAD_ONES if it.values != ("cwd",)])
def test_must_OP_C3_not_applied(container: Container, bad: str) -> None:
    BAD[bad](container.config)
    container.refused()


@pytest.mark.parametrize("words", NOBODY, ids=str)
def test_must_OP_T1(run: Run, words: list[str]) -> None:
    """start without an id, or with one that nobody has, is an error."""
    without_a_container(run, "start", words)


@pytest.mark.parametrize("status", ["running", "stopped"])
def test_must_OP_T1_status(proven: Container, run: Run, wait_until: Wait, status: str) -> None:
    """Only a created container can be started; another is left as it is."""
    reach(proven, status, wait_until)
    before = proven.state()
    assert run("start", proven.name).returncode != 0
    assert proven.state() == before
    assert (proven.bundle.rootfs / "proof").read_text() == "ran\n"
    proven.delete()


def test_must_OP_T1_runs(proven: Container, wait_until: Wait) -> None:
    proven.create(PROOF)
    pid = proven.state()["pid"]
    proven.start()
    wait_until(lambda: ran(proven), "the program to run")
    assert (proven.state()["status"], proven.state()["pid"]) == ("running", pid)
    proven.delete()


@pytest.mark.parametrize("words", NOBODY, ids=str)
def test_must_OP_K1(run: Run, words: list[str]) -> None:
    """kill without an id, or with one that nobody has, is an error."""
    without_a_container(run, "kill", words)


def test_must_OP_K1_stopped(proven: Container, run: Run, wait_until: Wait) -> None:
    reach(proven, "stopped", wait_until)
    assert run("kill", proven.name, "TERM").returncode != 0
    assert proven.state()["status"] == "stopped"
    proven.delete()


@pytest.mark.parametrize("signal", ["TERM", "SIGTERM", "15", "USR1", "HUP", "RTMIN+3"])
def test_must_OP_K1_signal(proven: Container, run: Run, wait_until: Wait, signal: str) -> None:
    """The container's process gets the signal."""
    handled = "37" if signal == "RTMIN+3" else signal.removeprefix("SIG")
    proven.create(f"trap 'echo heard >>/proof; exit' {handled}; echo ready >/proof; while :; do sleep 0.02; done")
    proven.start()
    proof = proven.bundle.rootfs / "proof"
    wait_until(lambda: ran(proven) and proof.read_text(), "the program to run")
    run("kill", proven.name, signal, check=True)
    wait_until(lambda: proven.state()["status"] == "stopped", "the container to stop")
    assert proof.read_text() == "ready\nheard\n"
    proven.delete()


def test_must_OP_K1_created(proven: Container, run: Run, wait_until: Wait) -> None:
    reach(proven, "created", wait_until)
    stop(proven, wait_until)
    assert not ran(proven)
    run("delete", proven.name, check=True)


@pytest.mark.parametrize("words", NOBODY, ids=str)
def test_must_OP_D1(run: Run, words: list[str]) -> None:
    """delete without an id, or with one that nobody has, is an error."""
    without_a_container(run, "delete", words)


def test_must_OP_D1_running(proven: Container, run: Run, wait_until: Wait) -> None:
    """A container that runs is not deleted, and goes on."""
    reach(proven, "running", wait_until)
    before = proven.state()
    assert run("delete", proven.name).returncode != 0
    assert proven.state() == before
    assert pathlib.Path(f"/proc/{before['pid']}/root/proof").exists()
    proven.delete()


def test_must_OP_D2(proven: Container, run: Run, wait_until: Wait, tmp_path: pathlib.Path) -> None:
    """What create has made is deleted; what was there before, and what the program has made, is not."""
    (tmp_path / "volume").mkdir()
    proven.config["mounts"].append({"destination": "/tmp", "source": str(tmp_path / "volume"), "options": ["rbind"]})
    proven.create("echo kept >/tmp/file; echo ran >/proof; exec sleep 1000")
    proven.start()
    wait_until(lambda: ran(proven), "the program to run")
    cgroup = leaks.CGROUPS / leaks.cgroup_of(proven.state()["pid"])[1:]
    assert cgroup.is_dir()
    stop(proven, wait_until)
    run("delete", proven.name, check=True)
    wait_until(lambda: not cgroup.exists(), "the cgroup to go")
    assert (tmp_path / "volume/file").read_text() == "kept\n"
    assert (proven.bundle.rootfs / "proof").read_text() == "ran\n"
    assert (proven.bundle.path / "config.json").exists()
    # the name is free again
    assert proven.says("echo inside") == "inside"

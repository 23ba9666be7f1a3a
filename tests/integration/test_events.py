"""events and stats: what the kernel counts of a container, and what befalls it, as it befalls it."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Bundle, Container, Run
from tests.integration.needs import needs

pytestmark = pytest.mark.skipif(CRUN, reason="crun has no such verbs")
M = 1 << 20
TURN = 2.0  # seconds within which a change from outside is to be seen


class Events:
    """`pyoci events` at work: its lines, as they come."""

    def __init__(self, runtime: str, *args: str) -> None:
        self.process = subprocess.Popen([runtime, "events", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.unread = b""

    def next(self, seconds: float = 20.0) -> dict[str, Any]:
        """Return the next event. It must come in time."""
        assert self.process.stdout
        deadline = time.monotonic() + seconds
        while b"\n" not in self.unread:
            ready = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, f"no event within {seconds:g} s"
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"it ended: {self.process.communicate(timeout=10)}"
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def until(self, kind: str, seconds: float = 20.0) -> dict[str, Any]:
        """Return the next event of a kind."""
        while (event := self.next(seconds))["type"] != kind:
            pass
        return event

    def ends(self, seconds: float = TURN) -> int:
        """Return its exit status. It must end in time, without a word."""
        status = self.process.wait(seconds)
        assert self.process.stderr
        assert self.process.stderr.read() == b""
        return status


@pytest.fixture
def events(runtime: str) -> Iterator[Callable[..., Events]]:
    """Return what starts `pyoci events`; each is ended with the test."""
    started: list[Events] = []

    def start(*args: str) -> Events:
        started.append(Events(runtime, *args))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate(timeout=10)


@pytest.fixture
def web(container: Container) -> Container:
    """Return a container that runs, and that ends when it is asked to."""
    container.create("trap 'exit 0' TERM; while :; do sleep 0.2; done")
    container.start()
    return container


def scope(container: Container) -> str:
    return f"pyoci-{container.name}.scope"


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True, timeout=20)


def cgroup_of(container: Container) -> pathlib.Path:
    lines = pathlib.Path(f"/proc/{container.state()['pid']}/cgroup").read_text().splitlines()
    [path] = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    return pathlib.Path("/sys/fs/cgroup") / path


def test_stats_once(web: Container) -> None:
    """The keys are runc's, the numbers the kernel's."""
    done = web.run("events", "--stats", web.name, check=True)
    event = json.loads(done.stdout)
    assert (event["type"], event["id"], done.stdout.count("\n")) == ("stats", web.name, 1)
    cpu, stat = event["data"]["cpu"], (cgroup_of(web) / "cpu.stat").read_text().split()
    assert 0 <= int(stat[stat.index("usage_usec") + 1]) * 1000 - cpu["usage"]["total"] < 1e9
    for resource in ("cpu", "memory", "blkio"):
        assert event["data"][resource]["psi"]["some"].keys() == {"avg10", "avg60", "avg300", "total"}


def test_what_nobody_counts_is_left_out(web: Container) -> None:
    data = json.loads(web.run("events", "--stats", web.name, check=True).stdout)["data"]
    has = (cgroup_of(web) / "cgroup.controllers").read_text().split()
    assert ("usage" in data["memory"]) == ("memory" in has)
    assert ("pids" in data) == ("pids" in has)
    assert ("hugetlb" in data) == ("hugetlb" in has)
    assert not {"intel_rdt", "network_interfaces"} & data.keys()


def test_again_and_again(web: Container, events: Callable[..., Events]) -> None:
    one = events("--interval", "50ms", web.name)
    assert [one.next()["type"] for _ in range(3)] == ["stats"] * 3
    web.run("kill", web.name, "KILL", check=True)
    assert one.ends() == 0


CHANGES: list[tuple[list[str], str]] = [(["freeze"], "paused"), (["thaw"], "running"), (["stop"], "stopped")]


def test_systemctl_is_seen(web: Container, events: Callable[..., Events]) -> None:
    one = events("--state", "--interval", "1h", web.name)
    assert one.next() == {"type": "state", "id": web.name, "data": {"status": "running"}}
    assert one.next()["type"] == "stats"
    for words, status in CHANGES:
        systemctl(*words, scope(web))
        assert one.next(TURN)["data"]["status"] == status
    assert one.ends() == 0
    assert web.state()["status"] == "stopped"


def test_without_asking_nothing_is_said_of_the_status(web: Container, events: Callable[..., Events]) -> None:
    """What runc does not say would mislead who takes whatever has `data` for statistics."""
    one = events("--interval", "1h", web.name)
    assert one.next()["type"] == "stats"
    for words, _ in CHANGES:
        systemctl(*words, scope(web))
    assert one.ends() == 0
    assert one.unread == b""
    assert one.process.stdout
    assert one.process.stdout.read() == b""


def test_start_is_seen(container: Container, events: Callable[..., Events]) -> None:
    container.create()
    one = events("--state", "--interval", "1h", container.name)
    assert one.next()["data"] == {"status": "created"}
    assert one.next()["type"] == "stats"
    container.start()
    assert one.next(TURN)["data"] == {"status": "running"}
    container.delete()
    assert one.next(TURN)["data"]["status"] == "stopped"
    assert one.ends() == 0


def test_nobody_reads_any_more(web: Container, events: Callable[..., Events]) -> None:
    """It does not wait for the next interval to find that out."""
    one = events("--interval", "1h", web.name)
    one.next()
    assert one.process.stdout
    one.process.stdout.close()
    assert one.ends() == 0


def test_interrupt(web: Container, events: Callable[..., Events]) -> None:
    one = events(web.name)
    one.next()
    one.process.send_signal(signal.SIGINT)
    assert one.ends() == -signal.SIGINT


@pytest.mark.parametrize(("args", "said"), [
    (["events", "--interval", "5"], "--interval: `5` is not a length of time such as 5s, 100ms or 1m30s"),
    (["events", "--interval", "0s"], "--interval: `0s` is not a length of time such as 5s, 100ms or 1m30s"),
    (["stats", "--interval=-1s"], "--interval: `-1s` is not a length of time such as 5s, 100ms or 1m30s"),
    (["stats", "--stream", "--no-stream"], "--stream and --no-stream cannot be given together"),
])  # fmt: skip
def test_bad_options(web: Container, args: list[str], said: str) -> None:
    done = web.run(*args, web.name)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"pyoci: {said}\n")


@pytest.mark.parametrize("verb", ["events", "stats"])
def test_nothing_to_observe(run: Run, bundle: Bundle, container_id: str, verb: str) -> None:
    assert run(verb, container_id).stderr == f"pyoci: container `{container_id}` does not exist\n"
    bundle.args("true")
    run("run", "--keep", "--bundle", bundle.path, container_id, check=True)
    done = run(verb, container_id)
    assert (done.returncode, done.stderr) == (1, f"pyoci: cannot observe `{container_id}`: container not running\n")
    run("delete", container_id, check=True)
    run("--cgroup-manager=disabled", "create", "--bundle", bundle.path, container_id, check=True)
    assert run(verb, container_id).stderr.endswith("it has no cgroup of its own\n")


# -- the table


def test_table(web: Container) -> None:
    """Elsewhere than on a terminal it is shown once."""
    lines = web.run("stats", "--interval", "50ms", check=True).stdout.splitlines()
    assert lines[0].split()[:4] == ["NAME", "CPU", "MEMORY", "TASKS"]
    assert [line.split()[0] for line in lines[1:]] == [web.name]
    assert re.match(rf"{web.name}  \d+\.\d%", lines[1])


def test_table_as_json(run: Run, web: Container) -> None:
    done = run("stats", "--format", "json", "--interval", "50ms", web.name, web.name, check=True)
    [row] = json.loads(done.stdout)
    assert row["id"] == web.name
    assert 0 <= row["cpu_percent"] < 100
    assert row["pressure"].keys() == {"cpu", "memory", "io"}


def test_processors_in_use(container: Container) -> None:
    container.create("while :; do :; done")
    container.start()
    done = container.run("stats", "--format", "json", "--interval", "1s", container.name, check=True)
    assert 5 < json.loads(done.stdout)[0]["cpu_percent"] < 120


def test_table_of_nothing(run: Run) -> None:
    assert run("stats", "--format", "json", "--interval", "10ms", check=True).stdout == "[]\n"


def test_table_that_goes_on(runtime: str, web: Container) -> None:
    """On a terminal: until what was named has stopped."""
    master, terminal = pty.openpty()
    with subprocess.Popen([runtime, "stats", "--interval", "50ms", web.name], stdout=terminal) as table:
        os.close(terminal)
        seen = b""
        deadline = time.monotonic() + 20
        while seen.count(b"\x1b[H\x1b[J") < 3:
            assert select.select([master], [], [], max(0, deadline - time.monotonic()))[0]
            seen += os.read(master, 65536)
        assert f"\r\n{web.name}  ".encode() in seen
        web.run("kill", web.name, "KILL", check=True)
        assert table.wait(TURN) == 0
    os.close(master)


# -- what needs controllers


@needs("memory controller", "pids controller", "io controller")
def test_controllers(container: Container) -> None:
    container.config["linux"]["resources"] = {"memory": {"limit": 64 * M}, "pids": {"limit": 20}}
    container.create("sleep 1000 & sleep 1000 & wait")
    container.start()
    deadline = time.monotonic() + 20
    while (data := _stats(container))["pids"] != {"current": 3, "limit": 20}:
        assert time.monotonic() < deadline, data["pids"]
    cgroup = cgroup_of(container)
    memory = data["memory"]
    assert memory["usage"]["limit"] == 64 * M
    assert 0 < memory["usage"]["usage"] <= memory["usage"]["max"] < 64 * M
    assert memory["raw"].keys() == set((cgroup / "memory.stat").read_text().split()[::2])
    done = container.run("stats", "--interval", "50ms", container.name, check=True)
    assert re.search(rf"^{container.name} .*K of 64\.0M  3 of 20 ", done.stdout, re.MULTILINE)


def _stats(container: Container) -> dict[str, Any]:
    event = json.loads(container.run("events", "--stats", container.name, check=True).stdout)
    data: dict[str, Any] = event["data"]
    return data


@needs("io controller")
def test_io(container: Container) -> None:
    """As much as the kernel counts of a disk that the container reads."""
    number = os.stat("/dev/vda").st_rdev
    disk = {"type": "b", "major": os.major(number), "minor": os.minor(number)}
    container.config["linux"]["devices"] = [{"path": "/dev/disk", **disk}]
    container.config["linux"]["resources"]["devices"].append({"allow": True, "access": "rm", **disk})
    container.create("dd if=/dev/disk of=/dev/null bs=64k count=16 skip=1600; exec sleep 1000")
    container.start()
    deadline = time.monotonic() + 60
    stat = rf"^{disk['major']}:{disk['minor']} rbytes=(\d+) .* rios=(\d+) "
    entry = {"major": disk["major"], "minor": disk["minor"], "op": "Read"}

    def agree() -> bool:
        blkio = _stats(container)["blkio"]
        counted = re.findall(stat, (cgroup_of(container) / "io.stat").read_text(), re.MULTILINE)
        return (
            bool(counted)
            and int(counted[0][0]) >= M  # and what was read ahead
            and {**entry, "value": int(counted[0][0])} in blkio["ioServiceBytesRecursive"]
            and {**entry, "value": int(counted[0][1])} in blkio["ioServicedRecursive"]
        )

    while not agree():
        assert time.monotonic() < deadline

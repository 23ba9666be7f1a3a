"""Many at once on one container, or on many: one wins, the others are told so, and nothing is left of anybody.

These also pass with crun (RUNTIME=crun), but for what is marked.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.integration.conftest import Bundle, Run

Wait = Callable[..., Any]

ours = pytest.mark.skipif(
    pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name != "pyoci", reason="other runtimes do not promise this"
)


class Done(NamedTuple):
    status: int
    said: str
    seconds: float


class Started:
    """A command that runs; its output goes to a file, which no container holds open."""

    def __init__(self, runtime: str, *args: str | os.PathLike[str]) -> None:
        self.output = open(os.memfd_create("output"), "w+")
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [runtime, *args], stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, text=True
        )

    def done(self, timeout: float = 20.0) -> Done:
        """Wait for it."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        seconds = time.monotonic() - self.began
        with self.output:
            self.output.seek(0)
            return Done(status, self.output.read(), seconds)


@pytest.fixture
def start(runtime: str) -> Callable[..., Started]:
    """Return what starts a command of the runtime without waiting for it."""
    return lambda *args: Started(runtime, *args)


def together(start: Callable[..., Started], count: int, *args: str | os.PathLike[str]) -> list[Done]:
    """Run the same command `count` times at once."""
    return [each.done() for each in [start(*args) for _ in range(count)]]


def status(run: Run, container: str) -> str:
    answer: dict[str, str] = json.loads(run("state", container, check=True).stdout)
    return answer["status"]


def gone(run: Run, container: str) -> bool:
    return run("state", container).returncode != 0


# -- the same command


@pytest.mark.parametrize("verb", ["create", "run"])
def test_of_many_that_create_one_wins(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str, verb: str
) -> None:
    bundle.args("sleep", "1000")
    words: list[str | os.PathLike[str]] = [
        verb,
        *(["--detach"] if verb == "run" else []),
        "--bundle",
        bundle.path,
        container_id,
    ]
    for _ in range(2):
        ends = together(start, 16, *words)
        losers = [end for end in ends if end.status != 0]
        assert len(losers) == 15, ends
        for end in losers:
            assert "exist" in end.said and end.said.count("\n") == 1, end
        # the winner's is whole
        assert status(run, container_id) == ("created" if verb == "create" else "running")
        run("delete", "--force", container_id, check=True)


def test_of_many_that_start_one_wins(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str, wait_until: Wait
) -> None:
    bundle.sh("echo started >>/tmp/proof; exec sleep 1000")
    bundle.config["root"]["readonly"] = False
    bundle.write()
    proof = bundle.rootfs / "tmp/proof"
    for _ in range(3):
        run("create", "--bundle", bundle.path, container_id, check=True)
        ends = together(start, 8, "start", container_id)
        losers = [end for end in ends if end.status != 0]
        assert len(losers) == 7, ends
        for end in losers:
            assert container_id in end.said and end.said.count("\n") == 1, end
            assert end.seconds < 1, end
        assert status(run, container_id) == "running"
        wait_until(lambda: proof.exists() and proof.read_text(), "the program")
        run("delete", "--force", container_id, check=True)
        assert proof.read_text() == "started\n", "the program ran more than once"
        proof.unlink()


@ours
@pytest.mark.parametrize("state", ["created", "running", "stopped"])
def test_all_that_delete_by_force_succeed(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str, state: str, wait_until: Wait
) -> None:
    bundle.args("true" if state == "stopped" else "sleep", "1000")
    for _ in range(2):
        if state == "created":
            run("create", "--bundle", bundle.path, container_id, check=True)
        else:
            run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
            wait_until(lambda: status(run, container_id) == state, state)
        ends = together(start, 8, "delete", "--force", container_id)
        assert [(end.status, end.said) for end in ends] == [(0, "")] * 8
        assert gone(run, container_id)


@ours
def test_of_many_that_delete_one_wins(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str
) -> None:
    run("create", "--bundle", bundle.path, container_id, check=True)
    ends = together(start, 8, "delete", container_id)
    assert sorted(end.status for end in ends) == [0, *[1] * 7], ends
    for end in ends:
        assert end.status == 0 or "does not exist" in end.said, end


# -- one against the other


def test_create_against_delete_by_force(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str
) -> None:
    bundle.args("sleep", "1000")
    for delay in range(0, 40, 4):  # milliseconds: before, amid and after the creation
        creating = start("create", "--bundle", bundle.path, container_id)
        time.sleep(delay / 1000)
        deleted = start("delete", "--force", container_id).done()
        created = creating.done()
        assert deleted.status == 0, (delay, deleted)
        if created.status:
            assert created.said.count("\n") == 1, (delay, created)
        elif not gone(run, container_id):
            # the delete came too early: then the container is whole
            run("start", container_id, check=True)
        run("delete", "--force", container_id, check=True)


def test_start_against_delete_by_force(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str
) -> None:
    bundle.args("sleep", "1000")
    for delay in range(0, 30, 3):
        run("create", "--bundle", bundle.path, container_id, check=True)
        starting = start("start", container_id)
        time.sleep(delay / 1000)
        assert start("delete", "--force", container_id).done().status == 0
        started = starting.done()
        assert started.status == 0 or started.said.count("\n") == 1, (delay, started)
        assert gone(run, container_id)


def test_start_against_kill(run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    for delay in range(0, 24, 4):
        run("create", "--bundle", bundle.path, container_id, check=True)
        starting = start("start", container_id)
        time.sleep(delay / 1000)
        killed = start("kill", container_id, "KILL").done()
        started = starting.done()
        assert killed.status == 0, (delay, killed)
        assert started.status == 0 or started.said.count("\n") == 1, (delay, started)
        run("delete", "--force", container_id, check=True)


def test_kill_against_exit(run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "0.02")
    for delay in range(0, 40, 4):
        run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
        time.sleep(delay / 1000)
        killed = start("kill", container_id, "KILL").done()
        # it has been killed, or was too late: nothing else
        assert killed.status == 0 or ("not running" in killed.said and killed.said.count("\n") == 1), (delay, killed)
        run("delete", "--force", container_id, check=True)


@ours
def test_state_and_list_against_everything(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str
) -> None:
    bundle.args("sleep", "1000")
    known = {"creating", "created", "running", "paused", "stopped"}
    with concurrent.futures.ThreadPoolExecutor(1) as others:

        def life() -> None:
            for _ in range(5):
                run("create", "--bundle", bundle.path, container_id, check=True)
                run("start", container_id, check=True)
                run("delete", "--force", container_id, check=True)

        living = others.submit(life)
        while not living.done():
            seen = run("state", container_id)
            if seen.returncode:
                assert "exist" in seen.stderr and seen.stderr.count("\n") == 1, seen
            else:
                assert json.loads(seen.stdout)["status"] in known
            listed = run("list", "--format", "json")
            assert (listed.returncode, listed.stderr) == (0, "")
            json.loads(listed.stdout)
        living.result()


def test_run_detached_against_its_own_end(run: Run, bundle: Bundle, container_id: str, wait_until: Wait) -> None:
    bundle.args("true")
    for _ in range(8):
        run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
        wait_until(lambda: status(run, container_id) == "stopped", "the end")
        run("delete", container_id, check=True)


# -- signals


@contextlib.contextmanager
def storm(process: subprocess.Popen[str], *numbers: int, seconds: float = 0.0005) -> Iterator[None]:
    """Send signals to a process, one after another, until it ends or the block is left."""
    with concurrent.futures.ThreadPoolExecutor(1) as weather:
        over = False

        def rain() -> None:
            while not over and process.poll() is None:
                for number in numbers:
                    process.send_signal(number)
                time.sleep(seconds)

        falling = weather.submit(rain)
        try:
            yield
        finally:
            over = True
            falling.result()


@ours
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_during_create_leaves_all_or_nothing(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str, number: int
) -> None:
    bundle.args("sleep", "1000")
    outcomes = set()
    # on until one comes too late: on a busy machine that takes longer
    for delay in range(0, 600, 3):
        if delay >= 36 and 0 in outcomes:
            break
        creating = start("create", "--bundle", bundle.path, container_id)
        time.sleep(delay / 1000)
        creating.process.send_signal(number)
        end = creating.done()
        if end.status == 0:
            assert status(run, container_id) == "created"
            run("delete", container_id, check=True)
        else:
            assert gone(run, container_id), (delay, end)
            assert end.status in (-number, 128 + number), (delay, end)
            assert end.status < 0 or end.said.count("\n") == 1, (delay, end)
        outcomes.add(end.status)
    assert 0 in outcomes and len(outcomes) > 1, f"no signal came in time, or each did: {outcomes}"


@ours
@pytest.mark.parametrize("verb", [["create"], ["run"], ["run", "--detach"]], ids=" ".join)
def test_a_storm_of_signals_leaves_all_or_nothing(
    run: Run, start: Callable[..., Started], bundle: Bundle, container_id: str, verb: list[str]
) -> None:
    bundle.sh("trap 'exit 3' TERM INT; while :; do sleep 0.01; done")
    for delay in range(0, 40, 5):
        words = start(*verb, "--bundle", bundle.path, container_id)
        time.sleep(delay / 1000)
        with storm(words.process, signal.SIGTERM, signal.SIGINT):
            end = words.done()
        assert end.said.count("\n") <= 1, (delay, end)
        if verb != ["run"] and end.status == 0:
            assert status(run, container_id) in ("created", "running", "stopped")
            run("delete", "--force", container_id, check=True)
        assert gone(run, container_id), (delay, end)


def test_a_signal_reaches_the_container_of_a_run(
    start: Callable[..., Started], run: Run, bundle: Bundle, container_id: str, wait_until: Wait
) -> None:
    bundle.sh("trap 'exit 7' TERM; echo >/tmp/ready; while :; do sleep 0.01; done")
    bundle.config["root"]["readonly"] = False
    bundle.write()
    running = start("run", "--bundle", bundle.path, container_id)
    wait_until((bundle.rootfs / "tmp/ready").exists, "the trap")
    running.process.send_signal(signal.SIGTERM)
    assert running.done().status == 7
    assert gone(run, container_id)


# -- many


@pytest.mark.parametrize("verb", ["run", "create"])
def test_a_hundred_by_eight(runtime: str, bundle: Bundle, container_id: str, verb: str) -> None:
    bundle.args("true")

    def one(number: int) -> list[Done]:
        name = f"{container_id}-{number}"
        if verb == "run":
            return [Started(runtime, "run", "--bundle", bundle.path, name).done()]
        steps = (("create", "--bundle", bundle.path, name), ("start", name), ("delete", "--force", name))
        return [Started(runtime, *step).done() for step in steps]

    with concurrent.futures.ThreadPoolExecutor(8) as eight:
        ends = [end for ends in eight.map(one, range(100)) for end in ends]
    assert [end for end in ends if (end.status, end.said) != (0, "")] == []

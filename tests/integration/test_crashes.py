"""The runtime dies, the disk is full, systemd stands still or starts anew: what is left can always be cleared.

`strace` kills the runtime before a system call of our choice, or makes one fail. SOAK=1 tries every single call.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from tests.integration.conftest import Bundle, Run

pytestmark = pytest.mark.skipif(
    pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name != "pyoci", reason="other runtimes do not promise this"
)

Wait = Callable[..., Any]
SOAK = bool(os.environ.get("SOAK"))
ROOT = pathlib.Path("/run/pyoci")


class Call(NamedTuple):
    """One system call of a traced command: its name, the how manieth of that name it is, and its line."""

    name: str
    nth: int
    line: str


class Tracer:
    """Runs a command of the runtime under strace. Children are not traced: what is hurt is the runtime itself."""

    def __init__(self, runtime: str, log: pathlib.Path) -> None:
        self.runtime = runtime
        self.log = log

    def __call__(self, *args: str | os.PathLike[str], inject: str = "") -> subprocess.CompletedProcess[str]:
        """Run it, with a fault; what strace has to say besides goes to the log."""
        fault = ["-e", f"inject={inject}"] if inject else []
        with open(os.memfd_create("stdout"), "w+") as out, open(os.memfd_create("stderr"), "w+") as err:
            command: list[str | os.PathLike[str]] = [
                "strace",
                "-qq",
                "-y",
                "-s",
                "8",
                "-o",
                self.log,
                *fault,
                self.runtime,
                *args,
            ]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=30)
            out.seek(0), err.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())

    def calls(self) -> list[Call]:
        """Return what was traced last."""
        seen: collections.Counter[str] = collections.Counter()
        result = []
        for line in self.log.read_text(errors="replace").splitlines():
            if found := re.match(r"(\w+)\(", line):
                seen[found[1]] += 1
                result.append(Call(found[1], seen[found[1]], line))
        return result


@pytest.fixture
def traced(runtime: str, tmp_path: pathlib.Path) -> Tracer:
    """Return what runs the runtime under strace."""
    return Tracer(runtime, tmp_path / "strace")


def one_line(said: str) -> bool:
    return said.startswith("pyoci: ") and said.count("\n") == 1 and "internal error" not in said


def status(run: Run, container: str) -> str:
    """Return the status, "" when there is no such container."""
    done = run("state", container)
    if done.returncode:
        assert done.stderr == f"pyoci: container `{container}` does not exist\n"
        return ""
    answer: dict[str, str] = json.loads(done.stdout)
    return answer["status"]


def inits() -> list[int]:
    """Return the pids of the inits that live."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = stat.read_text().split(" ", 1)
            name, _, fields = rest.rpartition(")")
            if "pyoci-init" in name and fields.split()[0] not in "ZX":
                found.append(int(pid))
    return found


def clear(run: Run, container: str) -> None:
    """Delete by force and see that it is gone; the leak check looks for the rest."""
    done = run("delete", "--force", container)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert status(run, container) == ""


# -- the runtime is killed

Recording = dict[tuple[str, ...], list[Call]]


def after(calls: Sequence[Call], pattern: str) -> list[Call]:
    """Return the calls from the first whose line matches."""
    first = next(index for index, call in enumerate(calls) if re.search(pattern, call.line))
    return list(calls[first:])


def sample(calls: Sequence[Call], number: int, of: int) -> Call:
    """Return one of the calls; with SOAK, each has its number."""
    if not SOAK:
        return calls[number * len(calls) // of]
    if number >= len(calls):
        pytest.skip("there are fewer calls than that")
    return calls[number]


def points(count: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("number", "of"), [(n, count) for n in range(200 if SOAK else count)])


@pytest.fixture(scope="module")
def recorded() -> Recording:
    """Return what was recorded so far: each command is recorded once."""
    return {}


@pytest.fixture
def record(traced: Tracer, run: Run, bundle: Bundle, container_id: str, recorded: Recording) -> Callable[..., Any]:
    """Return what gives the system calls of a command from the claim of the directory on."""

    def calls(verb: str, *options: str, prepare: Sequence[Sequence[str]] = (), pattern: str = ROOT.name) -> list[Call]:
        if (verb, *options) not in recorded:
            for words in prepare:
                run(*words, check=True)
            words = ["--bundle", str(bundle.path)] if verb in ("create", "run") else []
            done = traced(verb, *options, *words, container_id)
            assert done.returncode == 0, done
            recorded[verb, *options] = after(traced.calls(), pattern)
            clear(run, container_id)
        return recorded[verb, *options]

    return calls


def survivors(run: Run, container: str, wait_until: Wait) -> None:
    """See that the container of a killed create is either whole or dead, and nothing between."""
    deadline = time.monotonic() + 1
    while inits() and time.monotonic() < deadline:
        if status(run, container) == "created" and not run("start", container).returncode:
            # the runtime was killed when it had nothing left to do
            assert status(run, container) == "running"
            return
        time.sleep(0.01)
    assert inits() == [], "the init dies with the runtime"
    assert status(run, container) in ("", "stopped")


@points(60)
def test_create_is_killed(
    traced: Tracer, record: Callable[..., Any], run: Run, bundle: Bundle, container_id: str, wait_until: Wait,
    number: int, of: int,
) -> None:  # fmt: skip
    bundle.args("sleep", "1000")
    call = sample(record("create", pattern=r"^mkdir\("), number, of)
    done = traced("create", "--bundle", bundle.path, container_id, inject=f"{call.name}:signal=KILL:when={call.nth}")
    assert done.returncode in (-signal.SIGKILL, 0), done
    survivors(run, container_id, wait_until)
    clear(run, container_id)
    run("create", "--bundle", bundle.path, container_id, check=True)
    clear(run, container_id)


def test_the_kills_hit(record: Callable[..., Any], traced: Tracer, run: Run, bundle: Bundle, container_id: str) -> None:
    calls = record("create", pattern=r"^mkdir\(")
    assert len(calls) > 40
    # how many reads the answers of the bus take is different each time
    steady = [call for call in calls if call.name not in ("recvfrom", "recvmsg", "poll")]
    for call in steady[:: len(steady) // 4]:
        done = traced(
            "create", "--bundle", bundle.path, container_id, inject=f"{call.name}:signal=KILL:when={call.nth}"
        )
        assert done.returncode == -signal.SIGKILL, call
        clear(run, container_id)


@points(12)
@pytest.mark.parametrize("path", ["/pyoci-test", ""], ids=["cgroupfs", "disabled"])
def test_create_is_killed_without_systemd(
    traced: Tracer, run: Run, bundle: Bundle, container_id: str, wait_until: Wait, recorded: Recording, path: str,
    number: int, of: int,
) -> None:  # fmt: skip
    bundle.args("sleep", "1000")
    bundle.config["linux"]["cgroupsPath"] = path and f"{path}/{container_id}"
    bundle.config["linux"].pop("resources", None)
    bundle.write()
    manager = "cgroupfs" if path else "disabled"
    words = ("--cgroup-manager", manager, "create", "--bundle", str(bundle.path), container_id)
    if (manager,) not in recorded:
        assert traced(*words).returncode == 0
        recorded[manager,] = after(traced.calls(), r"^mkdir\(")
        clear(run, container_id)
    call = sample(recorded[manager,], number, of)
    done = traced(*words, inject=f"{call.name}:signal=KILL:when={call.nth}")
    assert done.returncode in (-signal.SIGKILL, 0), done
    survivors(run, container_id, wait_until)
    clear(run, container_id)
    if path:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"/sys/fs/cgroup{path}")  # what is above the container's own cgroup is nobody's


@points(12)
def test_run_detached_is_killed(
    traced: Tracer, record: Callable[..., Any], run: Run, bundle: Bundle, container_id: str, number: int, of: int
) -> None:
    bundle.args("sleep", "1000")
    call = sample(record("run", "--detach", pattern=r"^mkdir\("), number, of)
    fault = f"{call.name}:signal=KILL:when={call.nth}"
    done = traced("run", "--detach", "--bundle", bundle.path, container_id, inject=fault)
    assert done.returncode in (-signal.SIGKILL, 0), done
    assert status(run, container_id) in ("", "created", "running", "stopped")
    clear(run, container_id)


@points(8)
def test_start_is_killed(
    traced: Tracer, record: Callable[..., Any], run: Run, bundle: Bundle, container_id: str, number: int, of: int,
    wait_until: Wait,
) -> None:  # fmt: skip
    bundle.args("sleep", "1000")
    create = ["create", "--bundle", str(bundle.path), container_id]
    call = sample(record("start", prepare=[create], pattern=r"state\.json"), number, of)
    run(*create, check=True)
    done = traced("start", container_id, inject=f"{call.name}:signal=KILL:when={call.nth}")
    assert done.returncode in (-signal.SIGKILL, 0), done
    if inits():
        # it waits still, or is on its way
        again = run("start", container_id)
        assert again.returncode == 0 or one_line(again.stderr), again
    wait_until(lambda: not inits(), "the program to run")
    wait_until(lambda: status(run, container_id) == "running", "it to be known as running", seconds=1)
    clear(run, container_id)


def test_start_is_killed_before_it_tidies_up(
    traced: Tracer, run: Run, bundle: Bundle, container_id: str, wait_until: Wait
) -> None:
    bundle.args("sleep", "1000")
    run("create", "--bundle", bundle.path, container_id, check=True)
    # the init has been told, the socket on which it waited is still in the directory
    assert traced("start", container_id, inject="unlink:signal=KILL:when=1").returncode == -signal.SIGKILL
    wait_until(lambda: not inits(), "the program to run")
    assert status(run, container_id) == "running"
    assert "already started" in run("start", container_id).stderr
    clear(run, container_id)


@points(12)
def test_delete_is_killed(
    traced: Tracer, record: Callable[..., Any], run: Run, bundle: Bundle, container_id: str, number: int, of: int
) -> None:
    bundle.args("sleep", "1000")
    running = ["run", "--detach", "--bundle", str(bundle.path), container_id]
    call = sample(record("delete", "--force", prepare=[running], pattern=r"state\.json"), number, of)
    run(*running, check=True)
    done = traced("delete", "--force", container_id, inject=f"{call.name}:signal=KILL:when={call.nth}")
    assert done.returncode in (-signal.SIGKILL, 0), done
    assert status(run, container_id) in ("", "running", "stopped")
    clear(run, container_id)


def test_run_in_the_foreground_is_killed(
    runtime: str, run: Run, bundle: Bundle, container_id: str, wait_until: Wait
) -> None:
    bundle.args("sleep", "1000")
    running = subprocess.Popen([runtime, "run", "--bundle", bundle.path, container_id], stdin=subprocess.DEVNULL)
    wait_until(lambda: status(run, container_id) == "running", "the container")
    running.kill()
    running.wait()
    assert status(run, container_id) == "running", "the container outlives who waited for it"
    clear(run, container_id)


# -- the disk is full

OF_THE_STATE = re.compile(rf"^(mkdir|openat|write|fsync|rename|bind)\(.*({ROOT}/|state\.json|config\.json\.)")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
def test_the_state_cannot_be_written(
    traced: Tracer, record: Callable[..., Any], run: Run, bundle: Bundle, container_id: str, number: int
) -> None:
    bundle.args("sleep", "1000")
    calls = [call for call in record("create", pattern=r"^mkdir\(") if OF_THE_STATE.match(call.line)]
    assert {call.name for call in calls} >= {"mkdir", "openat", "write", "fsync", "rename"}
    wrong = []
    for call in calls:
        fault = f"{call.name}:error={errno.errorcode[number]}:when={call.nth}"
        done = traced("create", "--bundle", bundle.path, container_id, inject=fault)
        told = done.returncode == 1 and one_line(done.stderr) and os.strerror(number) in done.stderr
        if not told or done.stdout or (ROOT / container_id).exists():
            wrong.append((call, done.returncode, done.stderr, status(run, container_id)))
        run("delete", "--force", container_id, check=True)
    assert wrong == []


# -- systemd stands still, starts anew, or is told something else


def broker() -> int:
    """Return the pid of the system bus's broker."""
    for service in ("dbus-broker.service", "dbus.service"):
        shown = subprocess.run(
            ["systemctl", "show", "--property=MainPID", "--value", service], capture_output=True, text=True, timeout=10
        )
        if shown.stdout.strip() not in ("", "0"):
            return int(shown.stdout)
    pytest.fail("no broker")


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_bus_that_stood_still_is_waited_for(runtime: str, run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    with standing_still(broker()):
        creating = subprocess.Popen(
            [runtime, "create", "--bundle", bundle.path, container_id], stdin=subprocess.DEVNULL
        )
        with pytest.raises(subprocess.TimeoutExpired):
            creating.wait(0.7)
        # whoever looks is not held up, nor told a lie
        began = time.monotonic()
        assert status(run, container_id) == "creating"
        assert time.monotonic() - began < 0.5
    assert creating.wait(10) == 0
    assert status(run, container_id) == "created"
    clear(run, container_id)


def test_a_killed_create_of_a_bus_that_stands_still_is_cleared(
    runtime: str, run: Run, bundle: Bundle, container_id: str, wait_until: Wait
) -> None:
    bundle.args("sleep", "1000")
    with standing_still(broker()):
        creating = subprocess.Popen(
            [runtime, "create", "--bundle", bundle.path, container_id], stdin=subprocess.DEVNULL
        )
        wait_until(lambda: status(run, container_id) == "creating", "the claim")
        time.sleep(0.1)
        creating.kill()
        creating.wait()
        wait_until(lambda: not inits(), "the init to die", seconds=1)
        assert status(run, container_id) == "stopped"
    clear(run, container_id)


@pytest.mark.skipif(not SOAK, reason="takes 30 s: SOAK=1")
def test_a_bus_that_never_answers_is_given_up(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path
) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "bus"))
        deaf.listen()
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/bus"}
        done = run("create", "--bundle", bundle.path, container_id, env=environment, timeout=35)
    assert done.returncode == 1 and one_line(done.stderr), done
    assert status(run, container_id) == ""


def systemctl(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, timeout=15)


@pytest.mark.parametrize("words", [["stop"], ["kill", "--signal=KILL"]], ids=["stop", "kill"])
@pytest.mark.parametrize("verb", [["create"], ["run", "--detach"]], ids=["created", "running"])
def test_the_scope_is_ended_by_systemctl(
    run: Run, bundle: Bundle, container_id: str, wait_until: Wait, verb: list[str], words: list[str]
) -> None:
    # the first process of a pid namespace ignores what it does not trap
    bundle.sh("trap 'exit 0' TERM; while :; do sleep 0.01; done")
    run(*verb, "--bundle", bundle.path, container_id, check=True)
    scope = json.loads(run("state", container_id, check=True).stdout)["systemd-scope"]
    # a container that waits for its start is stopped as one that runs
    assert systemctl("--no-block", *words, scope).returncode == 0
    wait_until(lambda: status(run, container_id) == "stopped", "the container to stop", seconds=2)
    done = run("delete", container_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert systemctl("status", scope).returncode == 4, "systemd has forgotten it"


@pytest.mark.parametrize("word", ["daemon-reload", "daemon-reexec"])
def test_systemd_starts_anew_meanwhile(run: Run, bundle: Bundle, container_id: str, word: str) -> None:
    bundle.args("sleep", "1000")
    for number in range(10):
        again = subprocess.Popen(["systemctl", word], stdin=subprocess.DEVNULL)
        time.sleep(0.004 * number)
        done = run("create", "--bundle", bundle.path, container_id)
        assert again.wait(15) == 0
        assert (done.returncode, done.stderr) == (0, ""), number
        scope = json.loads(run("state", container_id, check=True).stdout)["systemd-scope"]
        assert systemctl("is-active", scope).stdout == "active\n", number
        clear(run, container_id)


def test_a_container_outlives_systemds_new_start(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    run("create", "--bundle", bundle.path, container_id, check=True)
    for word in ("daemon-reload", "daemon-reexec"):
        assert systemctl(word).returncode == 0
        assert status(run, container_id) == "created"
    run("start", container_id, check=True)
    assert status(run, container_id) == "running"
    clear(run, container_id)


# -- a unit of the same name


def scope_of(container: str) -> str:
    return f"pyoci-{container}.scope"


@contextlib.contextmanager
def foreign_scope(container: str, *properties: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a scope of the name of the container's that is somebody else's."""
    command = ["systemd-run", "--quiet", "--scope", f"--unit={scope_of(container)}", *properties, "sleep", "1000"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def active(unit: str) -> str:
    return systemctl("show", "--property=ActiveState", "--value", unit).stdout.strip()


def test_a_failed_unit_of_the_same_name_makes_way(
    run: Run, bundle: Bundle, container_id: str, wait_until: Wait
) -> None:
    bundle.args("sleep", "1000")
    with foreign_scope(container_id, "--property=RuntimeMaxSec=50ms"):
        wait_until(lambda: active(scope_of(container_id)) == "failed", "the unit to fail")
        run("create", "--bundle", bundle.path, container_id, check=True)
        assert active(scope_of(container_id)) == "active"
        clear(run, container_id)


def test_a_living_unit_of_the_same_name_is_left_alone(
    run: Run, bundle: Bundle, container_id: str, wait_until: Wait
) -> None:
    with foreign_scope(container_id) as foreign:
        wait_until(lambda: active(scope_of(container_id)) == "active", "the foreign scope")
        for verb in ("create", "run"):
            done = run(verb, "--bundle", bundle.path, container_id)
            assert done.returncode == 1 and one_line(done.stderr), done
            assert scope_of(container_id) in done.stderr
            assert status(run, container_id) == ""
        clear(run, container_id)
        assert (active(scope_of(container_id)), foreign.poll()) == ("active", None)


def test_a_living_unit_is_left_alone_by_who_clears_up_after_a_crash(
    traced: Tracer, record: Callable[..., Any], run: Run, bundle: Bundle, container_id: str, wait_until: Wait
) -> None:
    [call, *_] = [call for call in record("create", pattern=r"^mkdir\(") if call.name == "connect"]
    fault = f"{call.name}:signal=KILL:when={call.nth}"
    assert traced("create", "--bundle", bundle.path, container_id, inject=fault).returncode == -signal.SIGKILL
    with foreign_scope(container_id) as foreign:
        wait_until(lambda: active(scope_of(container_id)) == "active", "the foreign scope")
        clear(run, container_id)
        assert (active(scope_of(container_id)), foreign.poll()) == ("active", None)


# -- the state is damaged


def half(text: str) -> str:
    return text[: len(text) // 2]


def with_member(name: str, value: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), name: value})


def without_member(name: str) -> Callable[[str], str]:
    return lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != name})


DAMAGED: dict[str, Callable[[str], str]] = {
    "torn": half,
    "empty": lambda text: "",
    "zeroed": lambda text: "\0" * len(text),
    "other JSON": lambda text: "[]",
    "a string": lambda text: '"state"',
    "unknown member": with_member("surprise", 1),
    "an object": lambda text: "{}",
    "no pid": with_member("pid", None),
    "pid in words": with_member("pid", "one"),
    "start time in words": with_member("start_time", "today"),
    "unit a number": with_member("unit", 5),
    "cgroup a number": with_member("cgroup", 5),
    "annotations a list": with_member("annotations", ["x"]),
    "no bundle": without_member("bundle"),
    "null": lambda text: "null",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_state_is_told_and_cleared(run: Run, bundle: Bundle, container_id: str, damage: str) -> None:
    bundle.args("sleep", "1000")
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    sound = (ROOT / container_id / "state.json").read_text()
    try:
        (ROOT / container_id / "state.json").write_text(DAMAGED[damage](sound))
        for verb in ("state", "start", "kill", "delete"):
            done = run(verb, container_id)
            assert done.returncode == 1 and done.stdout == "" and one_line(done.stderr), done
            assert container_id in done.stderr
        done = run("--log-level", "warning", "list", "--format", "json")
        assert (done.returncode, json.loads(done.stdout)) == (0, [])
        assert done.stderr.startswith("pyoci: warning: ") and container_id in done.stderr, done
        assert done.stderr.count("\n") == 1
        clear(run, container_id)
    finally:
        # what was not cleared by itself must not spoil other tests
        left = active(scope_of(container_id)) == "active"
        systemctl("kill", "--signal=KILL", scope_of(container_id))
        shutil.rmtree(ROOT / container_id, ignore_errors=True)
    assert not left, "the container of a damaged state still runs"


def torn_late(text: str) -> str:
    return text[: text.index('"annotations"')]


@pytest.mark.parametrize("damage", [torn_late, with_member("surprise", 1), with_member("unit", 5)])
@pytest.mark.parametrize("manager", ["cgroupfs", "split", "disabled"])
def test_what_has_no_scope_is_found_by_what_is_left(
    run: Run, bundle: Bundle, container_id: str, manager: str, damage: Callable[[str], str]
) -> None:
    """Red with a look for a scope alone: it goes on running, and nobody knows of it."""
    bundle.args("sleep", "1000")
    service = f"test-wreck-{container_id}.service"
    command = ["pyoci", f"--cgroup-manager={manager}", "run", "--detach", "--bundle", str(bundle.path), container_id]
    systemctl_run = ["systemd-run", f"--unit={service}", "--quiet", "--service-type=oneshot", "--remain-after-exit"]
    subprocess.run([*systemctl_run, "--property=Delegate=yes", *command], check=True, timeout=30)
    state = ROOT / container_id / "state.json"
    sound = state.read_text()
    pid = json.loads(sound)["pid"]
    try:
        state.write_text(damage(sound))
        clear(run, container_id)
        assert not pathlib.Path(f"/proc/{pid}/cwd").exists(), "it still runs"
        assert not pathlib.Path(json.loads(sound)["cgroup"] or "/nowhere").exists()
    finally:
        systemctl("stop", service)
        shutil.rmtree(ROOT / container_id, ignore_errors=True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("text", ["{", '{"id": 1}', "", "[]", '{"pid": "one"}'])
def test_one_damaged_state_does_not_hide_the_others(run: Run, bundle: Bundle, container_id: str, text: str) -> None:
    bundle.args("sleep", "1000")
    run("create", "--bundle", bundle.path, container_id, check=True)
    sound = json.loads((ROOT / container_id / "state.json").read_text())
    damaged = ROOT / f"{container_id}-damaged"
    damaged.mkdir(mode=0o700)
    try:
        (damaged / "state.json").write_text(json.dumps({**sound, **json.loads(text)}) if "pid" in text else text)
        listed = run("list", "--quiet", check=True)
        assert listed.stdout.split() == [container_id, damaged.name]
        listed = run("list")
        assert (listed.returncode, listed.stderr) == (0, "")
        assert container_id in listed.stdout and damaged.name not in listed.stdout
        clear(run, damaged.name)
    finally:
        shutil.rmtree(damaged, ignore_errors=True)
    clear(run, container_id)


def test_an_empty_directory_is_what_a_killed_create_left(run: Run, bundle: Bundle, container_id: str) -> None:
    (ROOT / container_id).mkdir(mode=0o700)
    assert status(run, container_id) == "stopped"
    listed = json.loads(run("list", "--format", "json", check=True).stdout)
    assert [(entry["id"], entry["status"]) for entry in listed] == [(container_id, "stopped")]
    refused = run("create", "--bundle", bundle.path, container_id)
    assert "already exists" in refused.stderr
    clear(run, container_id)


def test_the_copy_of_the_config_is_missed_by_nobody(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    run("create", "--bundle", bundle.path, container_id, check=True)
    (ROOT / container_id / "config.json").unlink()
    assert status(run, container_id) == "created"
    run("start", container_id, check=True)
    run("kill", container_id, "KILL", check=True)
    clear(run, container_id)


def test_what_is_no_directory_is_no_container(run: Run, container_id: str) -> None:
    path = ROOT / container_id
    path.touch()
    try:
        for verb in ("state", "start", "kill", "delete"):
            done = run(verb, container_id)
            assert done.returncode == 1 and one_line(done.stderr), done
        listed = run("list", "--format", "json")
        assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    finally:
        path.unlink()


@pytest.mark.parametrize("verb", [["state"], ["delete"], ["delete", "--force"]], ids=" ".join)
def test_a_link_is_not_followed(run: Run, container_id: str, tmp_path: pathlib.Path, verb: list[str]) -> None:
    (tmp_path / "precious").touch()
    path = ROOT / container_id
    path.symlink_to(tmp_path)
    try:
        done = run(*verb, container_id)
        assert (tmp_path / "precious").exists()
        assert done.returncode == 1 and one_line(done.stderr), done
    finally:
        path.unlink(missing_ok=True)


def test_a_state_of_another_boot_is_of_nobody_that_lives(run: Run, bundle: Bundle, container_id: str) -> None:
    run("create", "--bundle", bundle.path, container_id, check=True)
    path = ROOT / container_id / "state.json"
    state = json.loads(path.read_text())
    clear(run, container_id)
    # after the reboot a stranger has the pid, started at the same tick; the unit is of another one, too
    with foreign_scope(container_id) as stranger:
        started = int(pathlib.Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
        path.parent.mkdir(mode=0o700)
        state |= {"pid": stranger.pid, "start_time": started, "boot_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12}
        path.write_text(json.dumps(state))
        assert status(run, container_id) == "stopped"
        assert "not running" in run("kill", container_id, "KILL").stderr
        done = run("delete", container_id)
        assert (done.returncode, done.stderr) == (0, "")
        assert stranger.poll() is None
        assert status(run, container_id) == ""


def test_a_pid_that_another_process_has_is_not_killed(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    run("create", "--bundle", bundle.path, container_id, check=True)
    path = ROOT / container_id / "state.json"
    state = json.loads(path.read_text())
    clear(run, container_id)
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        path.parent.mkdir(mode=0o700)
        path.write_text(json.dumps({**state, "pid": stranger.pid}))
        assert status(run, container_id) == "stopped"
        assert "not running" in run("kill", container_id, "KILL").stderr
        clear(run, container_id)
        assert stranger.poll() is None
        stranger.kill()

"""Side by side: pyoci, crun and runc on one machine in one run. `make bench` writes RESULTS.md beside this file.

    python3 -m tests.bench.bench [--rounds N] [--batches N] [--only NAME] [--output FILE]

as root, inside the test machine. With --only, the rows are shown whose name has this in it, and no file is written.

What makes the numbers comparable, and was learnt the hard way:

- Each round runs every piece of work with every runtime, in a new random order: what drifts, drifts for all.
- 40 ms of silence come before each measured command. A run just after another rides on its RCU grace period.
- posix_spawn and wait4, with SIGALRM as the watchdog. subprocess with a timeout polls, in steps of up to 50 ms.
- The standard streams are no pipes: `create` leaves them open in the container.
- The kernel counts the memory of the process that spawns as the child's until the execve, and this one is bigger than
  some that it measures. So the peak is asked of busybox's time(1), which is small.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.bench import report

HERE = pathlib.Path(__file__).resolve().parent
RUNTIMES = ("pyoci", "crun", "runc")
PYTHON = "/usr/bin/python3"
GAP = 0.04  # seconds
PATIENCE = 30.0  # seconds for one command
LISTED = 20  # containers in the list
MANY, AT_ONCE = 100, 8
BUNDLES = {"ends": ["/bin/true"], "sleeps": ["/bin/sleep", "1000"], "filtered": ["/bin/true"]}
PROFILE = HERE.parent / "goldens/clients/seccomp/docker.json"  # docker's default, as docker sends it


class Cost(NamedTuple):
    """What one command took: milliseconds by the clock, and of processors."""

    wall: float
    cpu: float


class Work(NamedTuple):
    """One row of the table: what is measured, and what has to be there before and goes away after."""

    name: str
    measured: Callable[[Runtime], Cost]
    before: Callable[[Runtime], object] = lambda runtime: None
    after: Callable[[Runtime], object] = lambda runtime: None


class Timeout(Exception):
    """A command did not end."""


def give_up(*_: object) -> None:
    raise Timeout


def spawn(argv: Sequence[str], errors: int) -> int:
    """Start a command and return its pid; /dev/null is its input and output."""
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, errors, 2),
    ]
    return os.posix_spawn(argv[0], list(argv), os.environ, file_actions=streams)


def execute(argv: Sequence[str]) -> Cost:
    """Run a command to its end. Raises Timeout, and RuntimeError with what it said when it fails."""
    errors = os.memfd_create("stderr")
    try:
        started = time.perf_counter()
        pid = spawn(argv, errors)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            _, status, used = os.wait4(pid, 0)
        except Timeout:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        wall = time.perf_counter() - started
        if status:
            said = os.pread(errors, 1000, 0).decode(errors="replace").strip()
            raise RuntimeError(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}: {said}")
        return Cost(wall * 1e3, (used.ru_utime + used.ru_stime) * 1e3)
    finally:
        os.close(errors)


def execute_many(commands: list[list[str]], at_once: int) -> Cost:
    """Run commands, `at_once` at a time, and return what all of them took together."""
    errors = os.memfd_create("stderr")
    todo, running, cpu = commands[::-1], 0, 0.0
    started = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        while todo or running:
            while todo and running < at_once:
                spawn(todo.pop(), errors)
                running += 1
            _, status, used = os.wait4(-1, 0)
            running -= 1
            cpu += used.ru_utime + used.ru_stime
            if status:
                raise RuntimeError(os.pread(errors, 1000, 0).decode(errors="replace"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(errors)
    return Cost((time.perf_counter() - started) * 1e3, cpu * 1e3)


class Runtime:
    """One runtime with a state root of its own, and the container of the work at hand."""

    def __init__(self, name: str, command: Sequence[str], directory: pathlib.Path) -> None:
        self.name = name
        self.root = directory / name
        self.command = [*command, "--root", str(self.root), "--systemd-cgroup"]
        self.ends, self.sleeps, self.filtered = (str(directory / bundle) for bundle in BUNDLES)
        self.id = f"bench-{name}"

    def argv(self, *args: str) -> list[str]:
        """Return the command line of this runtime."""
        return [*self.command, *args]

    def __call__(self, *args: str) -> Cost:
        return execute(self.argv(*args))

    def run(self) -> Cost:
        """Run /bin/true in a container, in the foreground."""
        return self("run", "--bundle", self.ends, self.id)

    def run_filtered(self) -> Cost:
        """Run it with docker's seccomp profile, which the runtime has seen before."""
        return self("run", "--bundle", self.filtered, self.id)

    def create(self) -> Cost:
        """Create the container, which will sleep."""
        return self("create", "--bundle", self.sleeps, self.id)

    def start(self) -> Cost:
        """Start the container."""
        return self("start", self.id)

    def delete(self) -> Cost:
        """Delete the container, whatever it does."""
        return self("delete", "--force", self.id)

    def create_and_start(self) -> None:
        """Have a running container."""
        self.create()
        self.start()

    def leave_stopped(self) -> None:
        """Have a container whose program has ended, and of which systemd has forgotten the scope."""
        self("create", "--bundle", self.ends, self.id)
        pid = self.pid()
        self.start()
        deadline = time.monotonic() + PATIENCE
        while pathlib.Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                raise Timeout
            time.sleep(0.005)

    def pid(self, container_id: str = "") -> int:
        """Return the container's process."""
        command = self.argv("state", container_id or self.id)
        state = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return int(state["pid"])

    def life(self) -> Cost:
        """Create, start and delete, one after another."""
        costs = [self("create", "--bundle", self.ends, self.id), self.start(), self.delete()]
        return Cost(sum(cost.wall for cost in costs), sum(cost.cpu for cost in costs))

    def many(self, at_once: int) -> Cost:
        """Run /bin/true in MANY containers."""
        return execute_many([self.argv("run", "--bundle", self.ends, f"{self.id}-{n}") for n in range(MANY)], at_once)

    def peak(self, *args: str) -> int:
        """Return the largest resident size, in kB, of any process of a command."""
        said = self.root.parent / "peak"
        execute(["/bin/busybox", "time", "-f", "%M", "-o", str(said), *self.argv(*args)])
        return int(said.read_text())

    def memory(self) -> dict[str, int]:
        """Return the peak of the verbs, and what the waiting init takes, in kB."""
        found = {"create": self.peak("create", "--bundle", self.sleeps, self.id)}
        status = pathlib.Path(f"/proc/{self.pid()}/status").read_text()
        found["an init that waits for `start`"] = int(status.partition("VmRSS:")[2].split()[0])
        found["start"] = self.peak("start", self.id)
        found["state"] = self.peak("state", self.id)
        found["kill"] = self.peak("kill", self.id, "CONT")
        found["delete --force"] = self.peak("delete", "--force", self.id)
        found["run /bin/true"] = self.peak("run", "--bundle", self.ends, self.id)
        return found


SINGLE = (
    Work("run /bin/true", Runtime.run),
    Work("run /bin/true, docker's seccomp profile", Runtime.run_filtered),
    Work("create, start, delete", Runtime.life),
    Work("create", Runtime.create, after=Runtime.delete),
    Work("start", Runtime.start, before=Runtime.create, after=Runtime.delete),
    Work("state", lambda r: r("state", r.id), before=Runtime.create_and_start, after=Runtime.delete),
    Work("kill", lambda r: r("kill", r.id, "CONT"), before=Runtime.create_and_start, after=Runtime.delete),
    Work(
        "exec /bin/true", lambda r: r("exec", r.id, "/bin/true"), before=Runtime.create_and_start, after=Runtime.delete
    ),
    Work("delete (stopped)", lambda r: r("delete", r.id), before=Runtime.leave_stopped),
    Work("delete --force (running)", Runtime.delete, before=Runtime.create_and_start),
)
LISTING = (Work(f"list ({LISTED} containers)", lambda r: r("list")),)
BATCHES = (
    Work(f"{MANY} runs, one after another", lambda r: r.many(1)),
    Work(f"{MANY} runs, {AT_ONCE} at a time", lambda r: r.many(AT_ONCE)),
)

Samples = dict[tuple[str, str], list[Cost]]


def measure(works: Sequence[Work], runtimes: Sequence[Runtime], rounds: int, samples: Samples) -> None:
    """Do every piece of work with every runtime once a round, in random order, and add what it took to `samples`."""
    pairs = [(work, runtime) for work in works for runtime in runtimes]
    for work, runtime in pairs:  # the rows of the table are in the order of the works, whatever comes first here
        samples.setdefault((work.name, runtime.name), [])
    for _ in range(rounds):
        for work, runtime in random.sample(pairs, len(pairs)):
            work.before(runtime)
            time.sleep(GAP)
            cost = work.measured(runtime)
            work.after(runtime)
            samples[work.name, runtime.name].append(cost)


@contextlib.contextmanager
def listed(runtimes: Sequence[Runtime]) -> Iterator[None]:
    """Have LISTED containers in each runtime."""
    made: list[tuple[Runtime, str]] = []
    try:
        for runtime in runtimes:
            for n in range(LISTED):
                made.append((runtime, f"{runtime.id}-{n}"))
                runtime("create", "--bundle", runtime.sleeps, made[-1][1])
        yield
    finally:
        for runtime, container_id in made:
            runtime("delete", "--force", container_id)


def make_bundles(directory: pathlib.Path) -> None:
    """Make the bundles on one root filesystem of busybox."""
    rootfs = directory / "rootfs"
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", rootfs / "bin")
    for applet in ("true", "sleep"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    for name, args in BUNDLES.items():
        (directory / name).mkdir()
        # one config for all of them; crun's has no section that only one of them knows
        subprocess.run(["crun", "spec"], cwd=directory / name, check=True)
        file = directory / name / "config.json"
        config = json.loads(file.read_text())
        config["process"].update(terminal=False, args=args)
        config["root"]["path"] = str(rootfs)
        if name == "filtered":
            config["linux"]["seccomp"] = json.loads(PROFILE.read_text())
        file.write_text(json.dumps(config))


def without_helper() -> list[str]:
    """Return what the launcher starts, but for its helper that begins the grace period."""
    archive = f"/usr/lib/pyoci/{pathlib.Path(PYTHON).resolve().name}.pyc"
    return [PYTHON, "-ISB", "-Xutf8", archive, "0", "pyoci"]


def floor(rounds: int) -> list[Cost]:
    """Return what starting and ending the bare interpreter takes."""
    costs = []
    for _ in range(rounds):
        time.sleep(GAP)
        costs.append(execute([PYTHON, "-ISB", "-c", "pass"]))
    return costs


def main() -> int:
    """Measure all of it and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="how often each command is measured")
    parser.add_argument("--batches", type=int, default=5, help=f"how often the {MANY} runs are")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "RESULTS.md")
    parser.add_argument("--only", help="measure the single commands whose name has this in it")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, give_up)
    samples: Samples = {}
    helper: Samples = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/run") as name:
        directory = pathlib.Path(name)
        make_bundles(directory)
        commands = {name: [shutil.which(name) or name] for name in RUNTIMES}
        runtimes = [Runtime(name, command, directory) for name, command in commands.items()]
        bare = Runtime(report.BARE, without_helper(), directory)
        bare.id = "bench-bare"
        begun = report.machine(commands)
        if options.only:
            measure([work for work in SINGLE if options.only in work.name], runtimes, options.rounds, samples)
            print("\n".join(report.table(samples, RUNTIMES)))
            return 0
        measure(SINGLE, runtimes, 1, {})  # what is read from disk is read now
        samples[report.FLOOR, ""] = floor(options.rounds)
        measure(SINGLE, runtimes, options.rounds, samples)
        measure(SINGLE[:1], [runtimes[0], bare], options.rounds, helper)
        with listed(runtimes):
            measure(LISTING, runtimes, options.rounds, samples)
        measure(BATCHES, [*runtimes, bare], options.batches, samples)
        memory = {runtime.name: runtime.memory() for runtime in runtimes}
    text = report.text(begun, samples, helper, memory, RUNTIMES)
    options.output.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

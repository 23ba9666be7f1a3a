"""What the tests of exec, hooks and terminals share: a container that runs, and processes looked at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run

Wait = Callable[..., Any]
OURS = pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name == "pyoci"
ours = pytest.mark.skipif(not OURS, reason="other runtimes do otherwise")
CGROUPS = pathlib.Path("/sys/fs/cgroup")


class Box:
    """One container to run things in. Change `config` before `up()`."""

    def __init__(self, run: Run, bundle: Bundle, name: str, runtime: str) -> None:
        self.run = run
        self.bundle = bundle
        self.config = bundle.config
        self.id = name
        self.runtime = runtime
        self.config["root"]["readonly"] = False
        # as the container's own program would have them: crun's default differs from ours
        self.config["process"]["capabilities"].pop("ambient", None)

    def make(self, *options: str) -> None:
        """Create it; with options of the runtime. Its program sleeps."""
        self.bundle.args("sleep", "1000")
        self.run(*options, "create", "--bundle", self.bundle.path, self.id, check=True)

    def up(self, *options: str) -> Box:
        """Create and start it."""
        self.make(*options)
        self.run("start", self.id, check=True)
        return self

    def exec(self, *words: str | os.PathLike[str], **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a program in it: `words` are options, then the command; ID is put where the first `--` stands."""
        return self.run("exec", *(self.id if word == "--" else word for word in words), **how)

    def sh(self, script: str, *options: str | os.PathLike[str]) -> str:
        """Run a shell script in it and return what that printed."""
        done = self.exec(*options, "--", "sh", "-c", script)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def popen(self, *words: str, **how: Any) -> subprocess.Popen[bytes]:
        """Begin to run a program in it."""
        return subprocess.Popen([self.runtime, "exec", *(self.id if word == "--" else word for word in words)], **how)

    def state(self) -> dict[str, Any]:
        """Return what `state` says of it."""
        answer: dict[str, Any] = json.loads(self.run("state", self.id, check=True).stdout)
        return answer

    @property
    def pid(self) -> int:
        return int(self.state()["pid"])

    @property
    def cgroup(self) -> pathlib.Path:
        """The cgroup of its first process."""
        return cgroup(self.pid)

    def processes(self) -> list[int]:
        """Return who lives in its cgroup, below the own one too."""
        return sorted(members(self.cgroup))


@pytest.fixture
def box(run: Run, bundle: Bundle, container_id: str, runtime: str) -> Box:
    """Return a container that can be made."""
    return Box(run, bundle, container_id, runtime)


def cgroup(pid: int) -> pathlib.Path:
    """Return the cgroup of a process."""
    [line] = [line for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::")]
    return CGROUPS / line[4:]


def members(directory: pathlib.Path) -> Iterable[int]:
    """Yield the processes in a cgroup and below."""
    for path in (directory / "cgroup.procs", *directory.glob("**/*/cgroup.procs")):
        with contextlib.suppress(OSError):
            yield from (int(pid) for pid in path.read_text().split())


def alive(pid: int) -> bool:
    """Does this process run, and is no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def fields(status: str) -> dict[str, str]:
    """Return proc_pid_status(5) by name."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}


def settled(condition: Callable[[], bool], seconds: float = 2.0) -> bool:
    """Say whether a condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Fail when the runtime did not refuse with 1, in one line, and each of the words in it."""
    assert (done.returncode, done.stdout) == (1, ""), done
    assert len(done.stderr.splitlines()) == 1 and "internal error" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def freeze(directory: pathlib.Path, how: bool) -> None:
    """Freeze a cgroup, or thaw it, and wait until it is."""
    (directory / "cgroup.freeze").write_text(str(int(how)))
    assert settled(lambda: f"frozen {int(how)}" in (directory / "cgroup.events").read_text())

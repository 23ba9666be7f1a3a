"""Run stages of the tests and sum them up: python3 -m tests.run lint unit thorough trixie bookworm vm.

`lint` is ruff and mypy; `unit` needs no root and is done in seconds; `thorough` is what `unit` leaves out: programs of
ours, machines that go down, second opinions, and all the examples of the tests by chance; a Debian suite is the
integration tests in a machine of that suite, and `vm` those that need more than such a machine has, in a virtual one
(with K: any of them).
Environment: K, a pytest expression that selects tests.
"""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
import re
import selectors
import signal
import subprocess
import sys
import time

from tests.machine import debian

TESTS = pathlib.Path(__file__).resolve().parent
CHECKS = ("lint", "unit", "thorough")
VM = "vm"
SUMMARY = re.compile(r"=* ?((?:\d+ [a-z]+,? ?)+)in [\d.]+s")
NEEDY = re.compile(r"needs\(|^@everywhere$", re.MULTILINE)
COUNT = re.compile(r"(\d+) (passed|failed|skipped|xfailed|xpassed|error|deselected)")


class Stage:
    """One running command and what it said of itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.started = time.monotonic()
        self.seconds = 0.0
        self.process = subprocess.Popen(
            command(name),
            cwd=TESTS.parent,
            env=environ(name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self.process.stdout
        self.output = self.process.stdout
        self.unfinished = b""

    def hear(self) -> bool:
        """Print the lines that have come, and keep pytest's counts and failures; return False at the end."""
        heard = os.read(self.output.fileno(), 65536)
        *lines, self.unfinished = (self.unfinished + heard).split(b"\n")
        for line in (raw.decode(errors="replace") for raw in lines):
            print(f"{self.name:8} | {line.rstrip()}", flush=True)
            if SUMMARY.match(line):
                self.counts = collections.Counter({word: int(number) for number, word in COUNT.findall(line)})
            if line.startswith(("FAILED ", "ERROR ")):
                self.failures.append(line)
        return bool(heard)

    def end(self) -> None:
        """Take note that the command has ended."""
        self.process.wait()
        self.seconds = time.monotonic() - self.started

    @property
    def good(self) -> bool:
        """Say whether the stage succeeded; tests that ran nothing did not."""
        return self.process.returncode == 0 and (self.name == "lint" or self.counts["passed"] > 0)


def command(name: str) -> list[str]:
    """Return what a stage runs."""
    selected = ["-k", os.environ["K"]] if os.environ.get("K") else []
    if name == "lint":
        bin = environment() / "bin"
        return ["sh", "-c", f"{bin}/ruff check && {bin}/ruff format --check; ruff=$?; {bin}/mypy && exit $ruff"]
    pytest = [str(environment() / "bin/python"), "-m", "pytest", "-n", "auto", "-p", "no:logging", "-rfEs"]
    pytest += ["-o", "verbosity_assertions=2"]  # a test of a table names every row that fails
    if name == "unit":
        return [*pytest, "-m", "not thorough", "tests/unit", "tests/test_house.py", *selected]
    if name == "thorough":
        return [*pytest, "-m", "thorough or hypothesis", "tests/thorough", "tests/unit", *selected]
    if name == VM and not selected:
        selected = ["-m", "needs", *needy()]
    return ["/usr/bin/python3", "-m", "tests.machine.inside", name, "test", *selected]


def needy() -> list[str]:
    """Return the files with tests that need what the machine made of namespaces may lack."""
    files = sorted((TESTS / "integration").glob("test_*.py"))
    return [str(path.relative_to(TESTS.parent)) for path in files if NEEDY.search(path.read_text())]


def environ(name: str) -> dict[str, str]:
    """Return the environment of a stage."""
    # the workers of a parallel run must find the same tests in the same order, also those made from a set
    told = {**os.environ, "PYTHONHASHSEED": "0", "THOROUGH": "1" if name == "thorough" else "0"}
    if name in CHECKS[1:]:
        # pytest takes 2 s to compile the tests, each worker for itself: keep that, out of the checkout's way
        told["PYTHONPYCACHEPREFIX"] = str(TESTS.parent / "build/pycache")
        told.pop("PYTHONDONTWRITEBYTECODE", None)
    return told


def environment() -> pathlib.Path:
    """Return the virtual environment of the pinned requirements, making it when the cache has none."""
    requirements = (TESTS / "requirements.txt").read_bytes()
    digest = hashlib.sha256(requirements + sys.version.encode()).hexdigest()[:12]
    finished = debian.CACHE / f"venv-{digest}"
    if not (finished / "whole").exists():
        print(f"making the test environment (once; kept in `{finished}`)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(finished)], check=True)
        pip = [str(finished / "bin/python"), "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--requirement", str(TESTS / "requirements.txt")], check=True)
        (finished / "whole").touch()
    return finished


def run_together(names: list[str]) -> list[Stage]:
    """Run stages at the same time, line by line in one stream."""
    stages: list[Stage] = []
    selector = selectors.DefaultSelector()
    try:
        for name in names:
            stages.append(Stage(name))
            selector.register(stages[-1].output, selectors.EVENT_READ, stages[-1])
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.hear():
                    selector.unregister(key.fileobj)
                    key.data.end()
    finally:
        for stage in stages:
            if stage.process.poll() is None:
                stage.process.terminate()  # a suite ends its machine
                stage.process.wait()
    return stages


def main() -> int:
    """Run the stages; return 0 when all of them are good."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["PATH"] = debian.PATH  # another python3 may come first on the path of whoever calls
    names = sys.argv[1:] or [*CHECKS, "trixie", "bookworm", VM]
    started = time.monotonic()
    # the checks keep both processors busy and the tests in machines have deadlines: first these, then those; and a
    # virtual machine, which takes what processors there are, after them
    together = [[*CHECKS], [name for name in names if name not in (*CHECKS, VM)], [VM]]
    stages = [stage for group in together for stage in run_together([name for name in group if name in names])]
    print()
    for stage in stages:
        counts = ", ".join(f"{number} {word}" for word, number in stage.counts.items())
        print(f"{stage.name:8} | {'ok' if stage.good else 'FAILED'}: {counts or 'no tests'} ({stage.seconds:.0f} s)")
        for line in stage.failures:
            print(f"{stage.name:8} | {line}")  # once more where whoever sees only the end of a long output finds it
    total = sum((stage.counts for stage in stages), collections.Counter[str]())
    words = [f"{number} {word}" for word, number in total.items() if number]
    bad = [stage.name for stage in stages if not stage.good]
    words += [f"failed stages: {' '.join(bad)}"] if bad else []
    print(f"==== {', '.join(words) or 'ok'} in {time.monotonic() - started:.0f} s ====")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

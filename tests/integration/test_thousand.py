"""A thousand containers that live: what the first and the last of them cost. Sixty, but under SOAK=1.

On two processors with nothing else to do a thousand take two minutes, and four to be deleted.
"""

from __future__ import annotations

import os
import pathlib
import resource
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.conftest import CRUN, Bundle

COUNT = 1000 if os.environ.get("SOAK") else 60
FEW = 9


def seconds_of(call: Callable[[], object]) -> float:
    """Return the time on a processor that a command takes: what it would take if nobody else were at work."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def least(call: Callable[[], object]) -> float:
    """Return how long it takes, the least of a few: others at work make it longer, never shorter."""
    took = []
    for _ in range(FEW):
        began = time.monotonic()
        call()
        took.append(time.monotonic() - began)
    return min(took)


class Crowd:
    """Containers of one bundle, below a root of their own."""

    def __init__(self, runtime: str, root: pathlib.Path, bundle: Bundle) -> None:
        self.command = [runtime, "--root", str(root), *(["--systemd-cgroup"] if CRUN else [])]
        self.bundle = bundle
        self.made = 0

    def __call__(self, *words: str) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run([*self.command, *words], check=True, stdin=quiet, stdout=quiet, timeout=1200)

    def grow(self) -> None:
        """Let one more run."""
        self.made += 1
        self("run", "--detach", "--bundle", str(self.bundle.path), f"thousand-{os.getpid()}-{self.made}")


@pytest.fixture
def crowd(runtime: str, bundle: Bundle, tmp_path: pathlib.Path) -> Iterator[Crowd]:
    bundle.args("sleep", "100000")
    made = Crowd(runtime, tmp_path / "root", bundle)
    yield made
    made("delete", "--force", "--regex", f"^thousand-{os.getpid()}-")


def test_the_last_is_no_slower_than_the_first(crowd: Crowd) -> None:
    crowd.grow()
    first = least(crowd.grow)
    while crowd.made < COUNT - FEW:
        crowd.grow()
    last = least(crowd.grow)
    listing = min(seconds_of(lambda: crowd("list", "--format", "json")) for _ in range(3))
    state = min(seconds_of(lambda: crowd("state", f"thousand-{os.getpid()}-7")) for _ in range(3))
    print(f"{crowd.made}: first {first * 1e3:.0f} ms, last {last * 1e3:.0f}, list {listing:.2f} s, state {state:.3f} s")
    assert last < 2 * first
    assert listing < 0.5 * max(crowd.made, 200) / 1000
    assert state < 0.1

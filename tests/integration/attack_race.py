"""What the races share: a bundle that is played again and again while names change places.

It may fail to be made; nothing outside may change, what was asked for must stand in the container exactly once, and
nothing may stand elsewhere. `make soak` tries each race 10,000 times where else it is 200.
"""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.integration.attack_play import Mounted, Stage, Waiting
from tests.integration.attack_scene import PROOF, Outside, Swapper, lean, replace, tries
from tests.integration.conftest import Bundle


@pytest.fixture
def outside(tmp_path: pathlib.Path, bundle: Bundle) -> Outside:
    """Return a directory of the host's; the same names exist in the root filesystem, so a link there leads somewhere."""
    result = Outside(tmp_path / "outside")
    mirror = bundle.rootfs / str(result.path)[1:]
    (mirror / "directory/inner").mkdir(parents=True)
    (mirror / "file").write_text(PROOF)
    return result


@pytest.fixture
def scene(bundle: Bundle) -> Bundle:
    """Return a bundle with few mounts."""
    lean(bundle)
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["destination"] == "/proc"]
    bundle.config["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
    return bundle


class Race:
    """Plays a bundle again and again while names change places, and counts how the plays ended."""

    def __init__(self, runtime: str, bundle: Bundle, outside: Outside, cwds: Sequence[str], **facts: object) -> None:
        self.stages = []
        for cwd in cwds:
            bundle.config["process"]["cwd"] = cwd
            self.stages.append(Stage(bundle.write(), runtime, **facts))
        self.outside = outside
        self.ends: collections.Counter[int] = collections.Counter()

    def run(
        self,
        *pairs: tuple[pathlib.Path, pathlib.Path],
        check: Callable[[Waiting], None] | None = None,
        after: Callable[[], None] | None = None,
        expected: int = 0,
    ) -> None:
        """Let the names of each pair change places; now and then it must end with the errno `expected`.

        `check` looks at each container that is made, `after` is called after each try.
        """
        with Swapper(*pairs):
            for number in tries(200):
                with self.stages[number % len(self.stages)].play() as waiting:
                    self.ends[waiting.error] += 1
                    if not waiting.error and check:
                        check(waiting)
                self.outside.assert_untouched()
                if after:
                    after()
        print({os.strerror(error): count for error, count in self.ends.items()})
        assert self.ends[expected] > 5


@pytest.fixture
def race(runtime: str, scene: Bundle, outside: Outside) -> Callable[..., None]:
    """Return what lets names race with plays of `scene`, each time with the next of the working directories."""

    def run(
        *pairs: tuple[pathlib.Path, pathlib.Path],
        cwds: Sequence[str] = ("/",),
        facts: dict[str, object] | None = None,
        **how: Any,
    ) -> None:
        Race(runtime, scene, outside, cwds, **(facts or {})).run(*pairs, **how)

    return run


def mount(bundle: Bundle, target: str, kind: str = "tmpfs", source: object = "tmpfs", *options: str) -> None:
    entry = {"destination": target, "type": kind, "source": str(source), "options": [*options]}
    bundle.config["mounts"].append(entry)


def of_type(waiting: Waiting, kind: str) -> list[Mounted]:
    return [found for found in waiting.mounts() if found.type == kind]


def pair(scene: Bundle, outside: Outside, leads_to: str = "directory") -> tuple[pathlib.Path, pathlib.Path]:
    """Return a directory of the root filesystem, and a link beside it that leads outside."""
    (scene.rootfs / "a/inner").mkdir(parents=True)
    return scene.rootfs / "a", replace(scene.rootfs / "link", outside.path / leads_to)


def is_a_terminal(waiting: Waiting) -> None:
    assert os.major(os.fstat(waiting.master).st_rdev) == 5
    for number in range(3):
        assert os.major(os.stat(f"/proc/{waiting.pid}/fd/{number}").st_rdev) in range(136, 144)


def has_a_console(waiting: Waiting) -> None:
    is_a_terminal(waiting)
    assert len([found for found in of_type(waiting, "devpts") if found.root != "/"]) == 1

"""Names of the root filesystem that change places while the init works on them: every kind of op that takes a name.

The init plays the ops of a real plan (attack_play.py) while two names are exchanged. It may fail; nothing outside may
change, what was asked for must stand in the container exactly once, and nothing may stand elsewhere. SOAK=1 (`make
soak`) tries each 10,000 times where else it is 200.

Seen red:
    what hides proc            masked paths looked for by their whole name: after 3 tries one was not masked
    proc and sys               links followed for them as for any other mount
    a source                   the source's last link followed
    a device                   what stands there taken for the device that was made
    the working directory      where it leads not looked at after the chdir
    all else                   the walk below the root filesystem not confined to it (no RESOLVE_IN_ROOT)
"""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.attack_play import Mounted, Stage, Waiting
from tests.integration.attack_scene import PROOF, Outside, Swapper, lean, replace, tries
from tests.integration.conftest import Bundle

HOSTS = "the host's own"


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

    def __init__(self, runtime: str, bundle: Bundle, outside: Outside) -> None:
        self.stage = Stage(bundle, runtime)
        self.outside = outside
        self.ends: collections.Counter[str] = collections.Counter()

    def run(
        self,
        *pairs: tuple[pathlib.Path, pathlib.Path],
        check: Callable[[Waiting], None] | None = None,
        times: int = 200,
    ) -> None:
        with Swapper(*pairs):
            for _ in tries(times):
                with self.stage.play() as waiting:
                    self.ends[os.strerror(waiting.error) if waiting.error else "made"] += 1
                    if not waiting.error and check:
                        check(waiting)
                self.outside.assert_untouched()
        assert self.ends["made"] > 5, self.ends


@pytest.fixture
def race(runtime: str, scene: Bundle, outside: Outside) -> Callable[..., None]:
    def run(*pairs: tuple[pathlib.Path, pathlib.Path], **how: Any) -> None:
        Race(runtime, scene.write(), outside).run(*pairs, **how)

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


# -- /proc and /sys


def test_what_hides_proc_stands_on_proc(race: Callable[..., None], scene: Bundle) -> None:
    scene.config["linux"] |= {"maskedPaths": ["/proc/kallsyms", "/proc/keys"], "readonlyPaths": ["/proc/sys"]}
    (scene.rootfs / "fake/sys").mkdir(parents=True)
    (scene.rootfs / "fake/kallsyms").touch()

    def check(waiting: Waiting) -> None:
        [proc] = [found for found in of_type(waiting, "proc") if found.root == "/"]
        on_it = {found.place.rpartition("/")[2] for found in waiting.mounts() if found.parent == proc.number}
        assert on_it == {"kallsyms", "keys", "sys"}

    race((scene.rootfs / "proc", scene.rootfs / "fake"), check=check)


def test_proc_and_sys_are_not_mounted_through_a_link(race: Callable[..., None], scene: Bundle) -> None:
    (scene.rootfs / "fake").mkdir()
    mount(scene, "/sys", "sysfs", "sysfs", "ro")
    pairs = [(scene.rootfs / name, replace(scene.rootfs / f"{name}-link", "fake")) for name in ("proc", "sys")]

    def check(waiting: Waiting) -> None:
        found = sorted((found.type, found.place) for found in of_type(waiting, "proc") + of_type(waiting, "sysfs"))
        assert [kind for kind, _ in found] == ["proc", "sysfs"]
        assert not any(place.startswith("/fake") for _, place in found)

    race(*pairs, check=check)


# -- places for mounts


def test_places_for_mounts(race: Callable[..., None], scene: Bundle, outside: Outside, tmp_path: pathlib.Path) -> None:
    (tmp_path / "source").write_text("bound")
    for name in ("inner", "new", "new/newer"):
        mount(scene, f"/a/{name}")
    for name in ("bound", "deep/bound"):
        mount(scene, f"/a/{name}", "bind", tmp_path / "source", "bind")

    def check(waiting: Waiting) -> None:
        found = [entry.place for entry in of_type(waiting, "tmpfs") if entry.root == "/"]
        assert sorted(place.rpartition("/")[2] for place in found) == ["inner", "new", "newer"]
        assert [found.root.endswith("/source") for found in waiting.mounts()].count(True) == 2

    race(pair(scene, outside), check=check)


def test_a_file_to_bind_over(
    race: Callable[..., None], scene: Bundle, outside: Outside, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "source").write_text("bound")
    (scene.rootfs / "file").write_text(PROOF)
    mount(scene, "/file", "bind", tmp_path / "source", "bind")

    def check(waiting: Waiting) -> None:
        assert [found.root.endswith("/source") for found in waiting.mounts()].count(True) == 1

    race((scene.rootfs / "file", replace(scene.rootfs / "link", outside.path / "file")), check=check)


def test_a_source_that_is_not_followed(
    race: Callable[..., None], scene: Bundle, outside: Outside, tmp_path: pathlib.Path
) -> None:
    source = tmp_path / "bundle/source"
    source.write_text("bound")
    (scene.rootfs / "target").touch()
    mount(scene, "/target", "bind", source, "bind", "src-nofollow")
    scene.args("cat", "/target")
    seen = collections.Counter[str]()

    def check(waiting: Waiting) -> None:
        seen[waiting.run()] += 1

    race((source, replace(tmp_path / "bundle/link", outside.path / "file")), check=check)
    assert set(seen) <= {"bound", PROOF, ""}, seen


# -- masked and read-only paths


def test_masked_and_read_only_paths(race: Callable[..., None], scene: Bundle, outside: Outside) -> None:
    directory, link = pair(scene, outside)
    mirror = scene.rootfs / str(outside.path)[1:] / "directory"
    for place in (directory, mirror):
        (place / "hidden").mkdir()
        (place / "secret").write_text(PROOF)
    scene.config["linux"] |= {"maskedPaths": ["/a/secret", "/a/hidden"], "readonlyPaths": ["/a/inner"]}

    def check(waiting: Waiting) -> None:
        found = {entry.place.rpartition("/")[2]: entry for entry in waiting.mounts()}
        assert found["secret"].root == "/null"
        assert (found["hidden"].type, "ro" in found["hidden"].options) == ("tmpfs", True)
        assert "ro" in found["inner"].options

    race((directory, link), check=check)


# -- /dev


@pytest.mark.parametrize("mounted", [True, False], ids=["with a mount", "without a mount"])
def test_dev(race: Callable[..., None], scene: Bundle, outside: Outside, mounted: bool) -> None:
    if mounted:
        mount(scene, "/dev")
    scene.config["linux"]["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "uid": 1000},
        {"path": "/dev/deep/mine", "type": "p", "uid": 1000},
    ]
    race((scene.rootfs / "dev", replace(scene.rootfs / "link", outside.path / "directory")))


@pytest.mark.parametrize("other", ["link", "file"])
def test_a_device(race: Callable[..., None], scene: Bundle, outside: Outside, other: str) -> None:
    """What stands where a device was made, or is thought to be, is not given away."""
    scene.config["linux"]["devices"] = [{"path": "/dev/mine", "type": "p", "uid": 1000, "gid": 1000}]
    os.mkfifo(scene.rootfs / "dev/mine")
    victim = scene.rootfs / "victim"
    if other == "link":
        replace(victim, outside.path / "file")
    else:
        victim.write_text(PROOF)
    race((scene.rootfs / "dev/mine", victim))
    found = [path.lstat() for path in (victim, scene.rootfs / "dev/mine")]
    assert all(status.st_uid == 0 for status in found)


# -- the terminal


@pytest.fixture
def terminal(scene: Bundle) -> Iterator[Bundle]:
    mount(scene, "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    (scene.rootfs / "dev/pts").mkdir()
    scene.config["process"]["terminal"] = True
    yield scene


def is_a_terminal(waiting: Waiting) -> None:
    assert os.major(os.fstat(waiting.master).st_rdev) == 5
    for number in range(3):
        assert os.major(os.stat(f"/proc/{waiting.pid}/fd/{number}").st_rdev) in range(136, 144)


def test_dev_pts(race: Callable[..., None], terminal: Bundle, outside: Outside) -> None:
    def check(waiting: Waiting) -> None:
        is_a_terminal(waiting)
        assert len([found for found in of_type(waiting, "devpts") if found.root == "/"]) == 1

    race((terminal.rootfs / "dev/pts", replace(terminal.rootfs / "link", outside.path / "directory")), check=check)


@pytest.mark.parametrize("leads_to", ["file", "directory/new"])
def test_dev_console(race: Callable[..., None], terminal: Bundle, outside: Outside, leads_to: str) -> None:
    (terminal.rootfs / "dev/console").touch()

    def check(waiting: Waiting) -> None:
        is_a_terminal(waiting)
        assert len([found for found in of_type(waiting, "devpts") if found.root != "/"]) == 1

    race((terminal.rootfs / "dev/console", replace(terminal.rootfs / "link", outside.path / leads_to)), check=check)


# -- the working directory


@pytest.mark.parametrize("number", range(3, 9))
def test_the_working_directory(race: Callable[..., None], scene: Bundle, number: int) -> None:
    own = scene.rootfs / "a" / str(number)
    own.mkdir(parents=True)
    scene.config["process"]["cwd"] = f"/a/{number}"
    wanted = own.stat()

    def check(waiting: Waiting) -> None:
        found = os.stat(f"/proc/{waiting.pid}/cwd")
        assert (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)

    race((scene.rootfs / "a", replace(scene.rootfs / "link", "/proc/self/fd")), check=check, times=40)

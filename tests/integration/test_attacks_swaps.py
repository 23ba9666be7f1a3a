"""Names of the root filesystem that change places while the init works on them: every kind of op that takes a name.

The init plays the ops of a real plan (attack_play.py) while two names are exchanged. It may fail; nothing outside may
change, what was asked for must stand in the container exactly once, and nothing may stand elsewhere. `make soak` tries each 10,000 times where else it is 200.

Seen red: what was left out, and the try that hit.
    what hides proc            masked paths looked for by their whole name                               2
    proc and sys               links followed for them as for any other mount                            2
    places for mounts          the walk below the root filesystem not confined to it (no RESOLVE_IN_ROOT)  1
    a file to bind over        the same                                                                  1
    a source                   the source's last link followed                                           one of two
    masked and read-only paths the walk not confined                                                     1
    /dev                       the walk not confined                                                     9, without a mount 1
    a device                   what stands there taken for the device that was made, links followed      10
    /dev/pts                   the terminal opened by its name instead of by its multiplexer             within 500
    /dev/console               the place of the console opened by its name, links followed               2; a new file 1
    the working directory      where it leads not looked at after the chdir, nothing leaked closed       31
    a false proc               opened by name below /proc: a parameter, a label, a profile               1, 2, 9
    ids that are mapped        the source of a bind opened once more by its name                         1
    the root filesystem        opened once more by its name for each name below it                       3
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.attack_play import Waiting
from tests.integration.attack_race import has_a_console, is_a_terminal, mount, of_type, outside, pair, race, scene
from tests.integration.attack_scene import PROOF, Outside, replace
from tests.integration.conftest import Bundle
from tests.integration.program_scene import in_user_namespace

__all__ = ["outside", "race", "scene"]  # fixtures
pytestmark = pytest.mark.race
Race = Callable[..., None]


# -- /proc and /sys


def test_what_hides_proc_stands_on_proc(race: Race, scene: Bundle) -> None:
    scene.config["linux"] |= {"maskedPaths": ["/proc/kallsyms", "/proc/keys"], "readonlyPaths": ["/proc/sys"]}
    (scene.rootfs / "fake/sys").mkdir(parents=True)
    (scene.rootfs / "fake/kallsyms").touch()

    def check(waiting: Waiting) -> None:
        [proc] = [found for found in of_type(waiting, "proc") if found.root == "/"]
        on_it = {found.place.rpartition("/")[2] for found in waiting.mounts() if found.parent == proc.number}
        assert on_it == {"kallsyms", "keys", "sys"}

    race((scene.rootfs / "proc", scene.rootfs / "fake"), check=check)


def test_proc_and_sys_are_not_mounted_through_a_link(race: Race, scene: Bundle) -> None:
    (scene.rootfs / "fake").mkdir()
    mount(scene, "/sys", "sysfs", "sysfs", "ro")
    pairs = [(scene.rootfs / name, replace(scene.rootfs / f"{name}-link", "fake")) for name in ("proc", "sys")]

    def check(waiting: Waiting) -> None:
        found = sorted((found.type, found.place) for found in of_type(waiting, "proc") + of_type(waiting, "sysfs"))
        assert [kind for kind, _ in found] == ["proc", "sysfs"]
        assert not any(place.startswith("/fake") for _, place in found)

    race(*pairs, check=check)


# -- places for mounts


def test_places_for_mounts(race: Race, scene: Bundle, outside: Outside, tmp_path: pathlib.Path) -> None:
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


def test_a_file_to_bind_over(race: Race, scene: Bundle, outside: Outside, tmp_path: pathlib.Path) -> None:
    (tmp_path / "source").write_text("bound")
    (scene.rootfs / "file").write_text(PROOF)
    mount(scene, "/file", "bind", tmp_path / "source", "bind")

    def check(waiting: Waiting) -> None:
        assert [found.root.endswith("/source") for found in waiting.mounts()].count(True) == 1

    race((scene.rootfs / "file", replace(scene.rootfs / "link", outside.path / "file")), check=check)


def test_a_source_that_is_not_followed(race: Race, scene: Bundle, outside: Outside, tmp_path: pathlib.Path) -> None:
    source = tmp_path / "bundle/source"
    source.write_text("bound")
    (scene.rootfs / "target").touch()
    mount(scene, "/target", "bind", source, "bind", "src-nofollow")
    scene.args("cat", "/target")

    def check(waiting: Waiting) -> None:
        assert waiting.run() in ("bound", PROOF, "")

    race((source, replace(tmp_path / "bundle/link", outside.path / "file")), check=check)


# -- masked and read-only paths


def test_masked_and_read_only_paths(race: Race, scene: Bundle, outside: Outside) -> None:
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
def test_dev(race: Race, scene: Bundle, outside: Outside, mounted: bool) -> None:
    if mounted:
        mount(scene, "/dev")
    scene.config["linux"]["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "uid": 1000},
        {"path": "/dev/deep/mine", "type": "p", "uid": 1000},
    ]
    race((scene.rootfs / "dev", replace(scene.rootfs / "link", outside.path / "directory")))


@pytest.mark.parametrize("other", ["link", "file"])
def test_a_device(race: Race, scene: Bundle, outside: Outside, other: str) -> None:
    """What stands where a device was made, or is thought to be, is not given away."""
    scene.config["linux"]["devices"] = [{"path": "/dev/mine", "type": "p", "uid": 1000, "gid": 1000}]
    os.mkfifo(scene.rootfs / "dev/mine")
    victim = scene.rootfs / "victim"
    if other == "link":
        replace(victim, outside.path / "file")
    else:
        victim.write_text(PROOF)

    def after() -> None:
        assert not {os.lstat(path).st_uid for path in (victim, scene.rootfs / "dev/mine")} - {0}

    race((scene.rootfs / "dev/mine", victim), after=after)


# -- the terminal


@pytest.fixture
def terminal(scene: Bundle) -> Iterator[Bundle]:
    mount(scene, "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    (scene.rootfs / "dev/pts").mkdir()
    scene.config["process"]["terminal"] = True
    yield scene


def test_dev_pts(race: Race, terminal: Bundle, outside: Outside) -> None:
    def check(waiting: Waiting) -> None:
        is_a_terminal(waiting)
        assert len([found for found in of_type(waiting, "devpts") if found.root == "/"]) == 1

    race((terminal.rootfs / "dev/pts", replace(terminal.rootfs / "link", outside.path / "directory")), check=check)


@pytest.mark.parametrize("leads_to", ["file", "directory/new"])
def test_dev_console(race: Race, terminal: Bundle, outside: Outside, leads_to: str) -> None:
    (terminal.rootfs / "dev/console").touch()

    race(
        (terminal.rootfs / "dev/console", replace(terminal.rootfs / "link", outside.path / leads_to)),
        check=has_a_console,
    )


# -- the working directory


def test_the_working_directory(race: Race, scene: Bundle) -> None:
    """A descriptor that the init may have open is no working directory."""
    own = [scene.rootfs / f"a/{number}" for number in range(3, 9)]
    for path in own:
        path.mkdir(parents=True)
    inside = {(found.st_dev, found.st_ino) for found in (path.stat() for path in own)}

    def check(waiting: Waiting) -> None:
        found = os.stat(f"/proc/{waiting.pid}/cwd")
        assert (found.st_dev, found.st_ino) in inside

    link = replace(scene.rootfs / "link", "/proc/self/fd")
    race((scene.rootfs / "a", link), cwds=[f"/a/{path.name}" for path in own], check=check)


# -- what is written below /proc

# What the config asks for, what is believed of the machine, and how it ends on one that has neither module.
WRITES: dict[str, tuple[str, dict[str, Any], dict[str, object], int]] = {
    "a kernel parameter": ("linux", {"sysctl": {"net.ipv4.ip_forward": "1"}}, {}, 0),
    "a label": ("process", {"selinuxLabel": "system_u:system_r:container_t:s0"}, {"selinux": True}, errno.EINVAL),
    "a profile": ("process", {"apparmorProfile": "docker-default"}, {"apparmor": "unconfined"}, errno.ENOENT),
}
WRITTEN = ("sys/net/ipv4/ip_forward", "self/attr/exec", "self/attr/keycreate", "self/attr/apparmor/exec")


@pytest.mark.parametrize(("section", "asked", "facts", "expected"), WRITES.values(), ids=WRITES)
def test_nothing_is_written_to_a_false_proc(
    race: Race, scene: Bundle, section: str, asked: dict[str, Any], facts: dict[str, object], expected: int
) -> None:
    scene.config[section] |= asked
    with contextlib.ExitStack() as stack:
        false = []
        for path in (scene.rootfs / "false" / name for name in WRITTEN):
            path.parent.mkdir(parents=True, exist_ok=True)
            false.append(stack.enter_context(path.open("w")))  # its name will not be the same

        def after() -> None:
            assert [file.name for file in false if os.fstat(file.fileno()).st_size] == []

        race((scene.rootfs / "proc", scene.rootfs / "false"), facts=facts, after=after, expected=expected)


# -- whose files they are


@pytest.mark.parametrize("space", ["the host's ids", "ids of its own"])
def test_a_source_whose_ids_are_mapped(
    race: Race, scene: Bundle, outside: Outside, tmp_path: pathlib.Path, space: str
) -> None:
    """No view of it without the mapping, whichever of two directories it is and wherever it lands."""
    names = scene.path / "source", scene.path / "other"
    for path in names:
        path.mkdir()
        os.chown(path, 5, 5)
    mount(scene, "/a/inner", "bind", names[0], "bind", "idmap=uids=5-100007-1;gids=5-100007-1")
    swapped = pair(scene, outside)
    if space == "ids of its own":
        in_user_namespace(scene)
        for path in (scene.rootfs, *scene.rootfs.rglob("*")):
            os.chown(path, 100_000, 100_000, follow_symlinks=False)

    def check(waiting: Waiting) -> None:
        [found] = [entry for entry in waiting.mounts() if entry.root.endswith(("/source", "/other"))]
        assert "idmapped" in found.options

    race(swapped, names, check=check)


# -- the root filesystem itself


def test_the_root_filesystem(race: Race, scene: Bundle, outside: Outside) -> None:
    """All that is made stands in one of the two, and the container is in that one."""
    other = scene.path / "other"
    shutil.copytree(scene.rootfs, other, symlinks=True)
    for path in (scene.rootfs, other):
        (path / "a/inner").mkdir(parents=True)
        (path / "secret").write_text(PROOF)
    mount(scene, "/a/inner")
    scene.config["linux"] |= {"maskedPaths": ["/secret"], "readonlyPaths": ["/a"]}

    def check(waiting: Waiting) -> None:
        [root] = [entry for entry in waiting.mounts() if entry.place == "/"]
        on_it = {entry.place for entry in waiting.mounts() if entry.parent == root.number}
        assert {"/proc", "/a", "/secret"} <= on_it
        assert (pathlib.Path(f"/proc/{waiting.pid}/root/secret")).stat().st_rdev == os.makedev(1, 3)

    race((scene.rootfs, other), check=check)

"""Names of a volume that others have mounted: CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565.

As in test_attacks_swaps.py, but what changes places lies in a directory of the host's that is mounted in the container:
the walk goes over a mount. And the state root, where whoever can rename it would have our files written elsewhere.

Seen red: what was left out, and the try that hit.
    a place for a mount        the walk below the root filesystem not confined to it (no RESOLVE_IN_ROOT)  1
    /dev/null                  files masked with the /dev/null found in the container                    1
    a read-only path           the walk not confined                                                     1
    a read-only path is itself the path resolved once to bind it and once more to make it read-only      2
    the console                the place of the console opened by its name, links followed               2; a new file 1
    what is copied up          followed where it is a link, and not looked at again after the open       47
    a directory that is copied the same                                                                  9
    the state root             not asked who can move it; found so                                       17, behind a link 26

Never yet: what is copied up as a link to a directory, a directory or a FIFO. With the same left out these stay green.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator

import pytest

from pyoci_systemd.container.store import Container
from pyoci_systemd.errors import Error
from tests.integration.attack_play import Waiting
from tests.integration.attack_race import has_a_console, mount, of_type, outside, race, scene
from tests.integration.attack_scene import PROOF, Outside, Swapper, replace, tries
from tests.integration.conftest import Bundle

__all__ = ["outside", "race", "scene"]  # fixtures
pytestmark = pytest.mark.race
Race = Callable[..., None]


@pytest.fixture
def volume(tmp_path: pathlib.Path, scene: Bundle) -> Iterator[pathlib.Path]:
    """Return a directory that is mounted on /volume."""
    path = tmp_path / "volume"
    path.mkdir()
    mount(scene, "/volume", "bind", path, "bind")
    yield path


def test_a_place_for_a_mount(race: Race, scene: Bundle, volume: pathlib.Path, outside: Outside) -> None:
    (volume / "a/inner").mkdir(parents=True)
    replace(volume / "link", outside.path / "directory")
    for name in ("inner", "new", "new/newer"):
        mount(scene, f"/volume/a/{name}")

    def check(waiting: Waiting) -> None:
        found = [entry.place for entry in of_type(waiting, "tmpfs") if entry.root == "/"]
        assert sorted(place.rpartition("/")[2] for place in found) == ["inner", "new", "newer"]

    race((volume / "a", volume / "link"), check=check)


def test_dev_null(race: Race, scene: Bundle, volume: pathlib.Path) -> None:
    """A /dev that is shared: the container's other half puts something else in the place of null."""
    scene.config["mounts"][-1]["destination"] = "/dev"
    os.mknod(volume / "null", 0o20666, os.makedev(1, 3))
    (volume / "other").write_text(PROOF)
    (scene.rootfs / "masked").write_text(PROOF)
    scene.config["linux"]["maskedPaths"] = ["/masked"]

    def check(waiting: Waiting) -> None:
        assert pathlib.Path(f"/proc/{waiting.pid}/root/masked").stat().st_rdev == os.makedev(1, 3)

    race((volume / "null", volume / "other"), check=check)


def test_a_read_only_path(race: Race, scene: Bundle, volume: pathlib.Path, outside: Outside) -> None:
    (volume / "a/inner").mkdir(parents=True)
    replace(volume / "other", outside.path / "directory")
    scene.config["linux"]["readonlyPaths"] = ["/volume/a/inner"]

    def check(waiting: Waiting) -> None:
        [found] = [entry for entry in waiting.mounts() if entry.root.endswith("/inner")]
        assert "ro" in found.options

    race((volume / "a", volume / "other"), check=check)


def test_a_read_only_path_is_itself(race: Race, scene: Bundle, volume: pathlib.Path) -> None:
    """Two directories: what is read-only in one of them is not the inside of the other."""
    names = [volume / "a", volume / "other"]
    for path in names:
        (path / "inner").mkdir(parents=True)
        (path / "who").write_text(path.name)
        (path / "inner/who").write_text(path.name)
    scene.config["linux"]["readonlyPaths"] = ["/volume/a/inner"]

    def read(name: str, directory: int) -> bytes:
        fd = os.open(name, os.O_RDONLY, dir_fd=directory)
        try:
            return os.read(fd, 100)
        finally:
            os.close(fd)

    def check(waiting: Waiting) -> None:
        for path in names:
            directory = os.open(f"/proc/{waiting.pid}/root/volume/{path.name}", os.O_PATH)
            try:
                assert read("who", directory) == read("inner/who", directory)
            finally:
                os.close(directory)

    race((names[0], names[1]), check=check)


@pytest.mark.parametrize("leads_to", ["file", "directory/new"])
def test_the_console(race: Race, scene: Bundle, volume: pathlib.Path, outside: Outside, leads_to: str) -> None:
    scene.config["mounts"][-1]["destination"] = "/dev"
    mount(scene, "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    (volume / "pts").mkdir()
    (volume / "console").touch()
    replace(volume / "link", outside.path / leads_to)
    scene.config["process"]["terminal"] = True
    race((volume / "console", volume / "link"), check=has_a_console)


# -- what is copied up

READ = ["sh", "-c", "find /volume/up -type f | xargs cat; find /volume/up -name marker -o -name inner"]


@pytest.fixture
def image(scene: Bundle, volume: pathlib.Path) -> pathlib.Path:
    """Return a directory of the volume that is going to be copied up."""
    path = volume / "up"
    (path / "sub").mkdir(parents=True)
    (path / "sub/file").write_text(PROOF)
    mount(scene, "/volume/up", "tmpfs", "tmpfs", "tmpcopyup")
    scene.args(*READ)
    return path


def has_nothing_of_the_hosts(waiting: Waiting) -> None:
    said = waiting.run()
    assert "host" not in said and "marker" not in said and "inner" not in said


@pytest.mark.parametrize("other", ["link to a file", "link to a directory", "directory", "fifo"])
def test_what_is_copied_changes_places(race: Race, image: pathlib.Path, outside: Outside, other: str) -> None:
    """A file or a link, the inside or nothing."""
    name = image / "sub/other"
    if other == "fifo":
        os.mkfifo(name)
    elif other == "directory":
        name.mkdir()
    else:
        name.symlink_to(outside.path / ("file" if "file" in other else "directory"))
    race((image / "sub/file", name), check=has_nothing_of_the_hosts)


def test_a_copied_directory_changes_places_with_a_link(race: Race, image: pathlib.Path, outside: Outside) -> None:
    for number in range(20):
        (image / f"sub/{number}").mkdir()
    (image / "link").symlink_to(outside.path / "directory")
    race((image / "sub", image / "link"), check=has_nothing_of_the_hosts)


# -- where the state is


@pytest.mark.parametrize("evil", ["above", "behind a link"])
def test_the_state_root(tmp_path: pathlib.Path, outside: Outside, evil: str) -> None:
    """Whoever can rename what leads to it could have all that we write, and all that we remove, elsewhere."""
    parent = tmp_path / "evil"
    (parent / "root").mkdir(mode=0o700, parents=True)
    replace(parent / "link", outside.path / "directory")
    os.chown(parent, 1000, 1000)
    root = parent / "root"
    if evil == "behind a link":
        root = replace(tmp_path / "root", parent / "root")
    refused = 0
    with Swapper((parent / "root", parent / "link")):
        for _ in tries(2000):
            container = Container(str(root), "container")
            try:
                container.claim()
                container.write_file("file", b"")
                container.remove()
            except Error:
                refused += 1
            finally:
                container.unlock()
            with contextlib.suppress(OSError):
                os.rmdir(parent / "root/container")
            outside.assert_untouched()
    assert refused

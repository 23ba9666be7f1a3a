"""What an image, or whoever shares a volume, may try with the ways in which mounts are made.

Seen red:
    a link in what is copied up       names opened without O_NOFOLLOW: the host's file came into the copy
    a fifo in the place of a file     opened without O_NONBLOCK: `create` waits for ever
    who the container is not          a copy made as the host's root: a file of the host's own was readable
    copy-symlink                      a link taken for the same whatever it says

Never yet: the place of a copy is a link. Without RESOLVE_IN_ROOT it stays green, so something else holds it too.
"""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.integration.attack_scene import Outside, assert_refused, replace
from tests.integration.test_mounts import Scene, into_user_namespace, scene

__all__ = ["scene"]  # a fixture
COPY = {"type": "tmpfs", "source": "tmpfs"}


@pytest.fixture
def outside(tmp_path: pathlib.Path) -> Outside:
    return Outside(tmp_path / "outside")


@pytest.fixture
def image(scene: Scene) -> pathlib.Path:
    """Return a directory of the root filesystem that is going to be copied up."""
    path = scene.bundle.rootfs / "m"
    (path / "sub").mkdir(parents=True)
    (path / "sub/file").write_text("the image's own")
    scene.mount("/m", ["tmpcopyup"], **COPY)
    return path


READ = "find /m -type f | xargs cat; find /m -name marker; find /m -name inner"


@pytest.mark.parametrize("pointer", ["{}/file", "{}/directory", "{}", "/", "/proc/self/root{}/file"])
def test_a_link_in_what_is_copied_up(scene: Scene, image: pathlib.Path, outside: Outside, pointer: str) -> None:
    """It is copied as the link that it is."""
    target = pointer.format(outside.path)
    (image / "link").symlink_to(target)
    (image / "sub/link").symlink_to(os.path.relpath(outside.path / "file", image / "sub"))
    assert scene.output(READ + "; readlink /m/link").splitlines() == ["the image's own" + target]
    outside.assert_untouched()


@pytest.mark.parametrize("pointer", ["{}/directory", "../../outside/directory", "/proc/1/root{}/directory"])
def test_the_place_of_a_copy_is_a_link(scene: Scene, image: pathlib.Path, outside: Outside, pointer: str) -> None:
    replace(image, pointer.format(outside.path))
    done = scene.tell("find / -xdev -name marker; grep -c marker /proc/self/mountinfo; true")
    assert "marker\n" not in done.stdout
    outside.assert_untouched()


def test_what_the_container_has_no_id_for_is_not_copied(scene: Scene, image: pathlib.Path) -> None:
    """In a user namespace: the host's root may read it, and the container's may not."""
    secret = image / "secret"
    secret.write_text("of the host's own root")
    into_user_namespace(scene)
    os.chown(secret, 0, 0)
    secret.chmod(0o600)
    done = scene.tell("cat /m/secret")
    assert "host" not in done.stdout
    assert_refused(done, "/m")


def test_a_deep_tree_ends_in_an_error(scene: Scene, image: pathlib.Path) -> None:
    here = os.open(image, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)
    try:
        assert_refused(scene.tell("true"))
    finally:
        scene.bundle.args("true")
        os.system(f"rm -rf {image / 'd'}")


def test_copied_link_in_the_place_of_a_directory(scene: Scene, outside: Outside, tmp_path: pathlib.Path) -> None:
    """The parent of a link that is copied may be a link of the image's: it leads below the root."""
    (tmp_path / "link").symlink_to("/where/ever")
    replace(scene.bundle.rootfs / "up", outside.path / "directory")
    scene.mount("/up/l", ["bind", "copy-symlink"], type="bind", source=str(tmp_path / "link"))
    scene.tell("true")
    outside.assert_untouched()


def test_a_mapping_does_not_make_the_host_s_files_the_container_s(scene: Scene, outside: Outside) -> None:
    """What is written through an id-mapped mount keeps to the mapping: no set-user-ID of the host's root."""
    into_user_namespace(scene)
    os.chown(outside.path / "directory", 5, 5)  # nobody writes to a directory of somebody that the mapping leaves out
    before = {path.name for path in (outside.path / "directory").iterdir()}
    option = "idmap=uids=5-100000-1;gids=5-100000-1"
    scene.mount("/v", ["bind", option], type="bind", source=str(outside.path / "directory"))
    scene.output("cp /bin/busybox /v/evil && chmod 4755 /v/evil")
    made = outside.path / "directory/evil"
    assert {path.name for path in made.parent.iterdir()} - before == {"evil"}
    assert made.stat().st_uid == 5

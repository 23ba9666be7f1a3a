"""The MUSTs of config.md on mounts, seen in the container's own mountinfo."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest

from tests.integration.conftest import Container
from tests.integration.must_scene import crun_does_not, mount_of, mounts_of, user_namespace

MOUNTINFO = "cat /proc/self/mountinfo"


def tmpfs(destination: str, *options: str) -> dict[str, Any]:
    """Return the entry of a file system in memory."""
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


def bind(source: str | os.PathLike[str], destination: str, *options: str) -> dict[str, Any]:
    """Return the entry of a bind mount; `options` say which kind."""
    return {"destination": destination, "source": str(source), "options": list(options)}


@pytest.mark.parametrize("order", [["/a", "/a/b", "/a/b/c"], ["/a/b", "/c", "/a"], ["/a", "/a", "/a"]], ids=str)
def test_must_MNT1(container: Container, order: list[str]) -> None:
    """Entries are mounted in the listed order: a later one stands on an earlier one or hides it."""
    container.config["root"]["readonly"] = False
    container.config["mounts"] += [tmpfs(path, f"nr_inodes={100 + number}") for number, path in enumerate(order)]
    seen = [(target, data) for target, _, _, data in mounts_of(container.says(MOUNTINFO)) if target in order]
    assert [target for target, _ in seen] == order
    assert [f"nr_inodes={100 + number}" in data for number, (_, data) in enumerate(seen)] == [True] * len(order)


@pytest.mark.parametrize("order", ["over", "under"])
def test_must_MNT1_hides(container: Container, tmp_path: pathlib.Path, order: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("of the bind mount")
    both = [tmpfs("/tmp"), bind(tmp_path / "source", "/tmp/below", "bind")]
    container.config["mounts"] += both if order == "over" else both[::-1]
    (container.bundle.rootfs / "tmp/below").mkdir()
    assert container.says("cat /tmp/below/file || true") == ("of the bind mount" if order == "over" else "")


@pytest.mark.parametrize(
    ("destination", "target"),
    [
        ("/new/deep", "/new/deep"),
        ("new/deep", "/new/deep"),
        ("tmp", "/tmp"),
        ("./tmp", "/tmp"),
        ("/tmp/../new/", "/new"),
    ],
)
def test_must_MNT2(container: Container, destination: str, target: str) -> None:
    """A destination is absolute; one that is not is taken as if it were relative to `/`."""
    container.config["root"]["readonly"] = False
    container.config["mounts"] += [tmpfs(destination, "nr_inodes=123")]
    assert "nr_inodes=123" in mount_of(target, container.says(MOUNTINFO)).data


# What each word that is about one file system does: options, what mountinfo shows then, what it does not show.
CRUN_HAS_NO_SUCH_WORD = crun_does_not("takes it for data of the file system (D12)")
CRUN_LETS_THE_FIRST_WIN = crun_does_not("an earlier word wins over a later one")
WORDS = [
    ("async", ["sync", "async"], "", "sync", CRUN_LETS_THE_FIRST_WIN),
    ("atime", ["noatime", "atime"], "", "noatime", CRUN_LETS_THE_FIRST_WIN),
    ("defaults", ["defaults"], "rw relatime", "ro nosuid nodev noexec sync noatime"),
    ("dev", ["nodev", "dev"], "", "nodev", CRUN_LETS_THE_FIRST_WIN),
    ("diratime", ["nodiratime", "diratime"], "", "nodiratime", CRUN_LETS_THE_FIRST_WIN),
    ("dirsync", ["dirsync"], "dirsync", "sync"),
    ("exec", ["noexec", "exec"], "", "noexec", CRUN_LETS_THE_FIRST_WIN),
    ("iversion", ["iversion"], "rw", "", CRUN_HAS_NO_SUCH_WORD),
    ("lazytime", ["lazytime"], "lazytime", "", CRUN_HAS_NO_SUCH_WORD),
    ("loud", ["silent", "loud"], "rw", "", CRUN_HAS_NO_SUCH_WORD),
    ("noatime", ["noatime"], "noatime", "relatime"),
    ("nodev", ["nodev"], "nodev", "nosuid noexec"),
    ("nodiratime", ["nodiratime"], "nodiratime", "noatime"),
    ("noexec", ["noexec"], "noexec", "nosuid nodev"),
    ("noiversion", ["iversion", "noiversion"], "rw", "", CRUN_HAS_NO_SUCH_WORD),
    ("nolazytime", ["lazytime", "nolazytime"], "rw", "lazytime", CRUN_HAS_NO_SUCH_WORD),
    ("norelatime", ["relatime", "norelatime"], "rw", "noatime"),
    ("nostrictatime", ["strictatime", "nostrictatime"], "relatime", "noatime", CRUN_LETS_THE_FIRST_WIN),
    ("nosuid", ["nosuid"], "nosuid", "nodev noexec"),
    ("relatime", ["noatime", "relatime"], "relatime", "noatime", CRUN_LETS_THE_FIRST_WIN),
    ("ro", ["ro"], "ro", "rw"),
    ("rw", ["ro", "rw"], "rw", "ro", CRUN_LETS_THE_FIRST_WIN),
    ("silent", ["silent"], "rw", "", CRUN_HAS_NO_SUCH_WORD),
    ("strictatime", ["strictatime"], "rw", "relatime noatime"),
    ("suid", ["nosuid", "suid"], "", "nosuid", CRUN_LETS_THE_FIRST_WIN),
    ("sync", ["sync"], "sync", ""),
]


@pytest.mark.parametrize(
    ("word", "options", "shown", "hidden"),
    [pytest.param(*row[:4], marks=row[4:], id=str(row[0])) for row in WORDS],  # type: ignore[arg-type]
)
def test_must_MNT3(container: Container, word: str, options: list[str], shown: str, hidden: str) -> None:
    """Every word of the list of the specification is understood: here on a file system in memory."""
    assert word in options
    container.config["mounts"] += [tmpfs("/tmp", *options)]
    it = mount_of("/tmp", container.says(MOUNTINFO))
    # what the superblock says, it says of all its mounts: of the options there are only those that it alone has
    found = it.options | (it.data - {"rw", "ro"})
    assert set(shown.split()) <= found
    assert not set(hidden.split()) & found


# What each word does to a bind mount of /dev, which has mounts below it: linux.rootfsPropagation as clients set it for
# that word, the propagation of the mount, and of the one below it (None: that is not the word's to say).
CRUN_RECURSES = crun_does_not("does it to the mounts below as well")
BINDS: list[tuple[Any, ...]] = [
    ("bind", "rslave", ["bind"], None, None),
    ("rbind", "rslave", ["rbind"], None, None),
    ("private", "rslave", ["rbind", "private"], "", "master", CRUN_RECURSES),
    ("rprivate", "rslave", ["rbind", "rprivate"], "", ""),
    ("shared", "shared", ["rbind", "shared"], "shared", None),
    ("rshared", "shared", ["rbind", "rshared"], "shared", "shared"),
    ("slave", "rslave", ["rbind", "slave"], "master", None),
    ("rslave", "rslave", ["rbind", "rslave"], "master", "master"),
    ("unbindable", "rslave", ["rbind", "unbindable"], "unbindable", "master", CRUN_RECURSES),
    ("runbindable", "rslave", ["rbind", "runbindable"], "unbindable", "unbindable"),
]


@pytest.mark.parametrize(
    ("word", "rootfs", "options", "above", "below"), [pytest.param(*row[:5], marks=row[5:], id=row[0]) for row in BINDS]
)
def test_must_MNT3_binds(
    container: Container, word: str, rootfs: str, options: list[str], above: str | None, below: str | None
) -> None:
    assert word in options
    container.config["linux"]["rootfsPropagation"] = rootfs
    container.config["mounts"] += [bind("/dev", "/tmp", *options)]
    found = {mount.target: mount.tags for mount in mounts_of(container.says(MOUNTINFO))}
    assert ("/tmp/pts" in found) == ("rbind" in options)
    for target, tags in (("/tmp", above), ("/tmp/pts", below)):
        assert tags is None or set(tags.split()) == found[target]


REMOUNTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("ro", {"destination": "/proc", "type": "proc", "options": ["remount", "ro"]}, "ro", "rw"),
    ("flags", tmpfs("/dev/shm", "remount", "nosuid", "noexec"), "nosuid noexec", ""),
    ("of a bind mount", bind("/dev", "/mnt", "bind", "remount", "ro", "nodev"), "ro nodev", "rw"),
]


@pytest.mark.parametrize(("entry", "shown", "hidden"), [row[1:] for row in REMOUNTS], ids=[row[0] for row in REMOUNTS])
def test_must_MNT3_remount(
    container: Container, tmp_path: pathlib.Path, entry: dict[str, Any], shown: str, hidden: str
) -> None:
    (tmp_path / "source").mkdir()
    (container.bundle.rootfs / "mnt").mkdir()
    container.config["mounts"] += [bind(tmp_path / "source", "/mnt", "bind"), entry]
    it = mount_of(entry["destination"], container.says(MOUNTINFO))
    assert set(shown.split()) <= it.options
    assert not set(hidden.split()) & it.options


OWNERS = "stat -c '%n %u:%g' /mnt/root /mnt/other"


@pytest.fixture
def source(tmp_path: pathlib.Path, container: Container) -> pathlib.Path:
    """Return a directory with a file of root's and one of 7:8's; /mnt is there to have it mounted."""
    directory = tmp_path / "source"
    directory.mkdir()
    for name, owner in (("root", (0, 0)), ("other", (7, 8))):
        (directory / name).touch()
        os.chown(directory / name, *owner)
    (container.bundle.rootfs / "mnt").mkdir()
    return directory


def mapping(container_id: int, host: int, size: int = 10) -> list[dict[str, int]]:
    """Return a list of one mapping."""
    return [{"containerID": container_id, "hostID": host, "size": size}]


MAPPED = {"uidMappings": mapping(0, 300), "gidMappings": mapping(0, 400)}


@pytest.mark.parametrize("word", ["idmap", pytest.param("ridmap", marks=crun_does_not("maps the mount to nobody"))])
@pytest.mark.parametrize("mapped", [MAPPED], ids=["mappings of the mount"])
def test_must_MNT4(container: Container, source: pathlib.Path, word: str, mapped: dict[str, Any]) -> None:
    """The mappings of a mount say which ids of its files are which in the container."""
    container.config["mounts"] += [bind(source, "/mnt", "bind", word) | mapped]
    assert container.says(OWNERS) == "/mnt/root 300:400\n/mnt/other 307:408"
    assert (source / "other").stat().st_uid == 7


@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_must_MNT4_of_the_container(container: Container, source: pathlib.Path, word: str) -> None:
    """Without mappings of its own, a mount takes those of the container."""
    user_namespace(container.bundle)
    container.config["mounts"] += [bind(source, "/mnt", "bind", word)]
    assert container.says(OWNERS) == "/mnt/root 0:0\n/mnt/other 7:8"


def test_must_MNT4_both(container: Container, source: pathlib.Path) -> None:
    """The mappings of the mount win over those of the container."""
    user_namespace(container.bundle)
    own = {"uidMappings": mapping(0, 100300), "gidMappings": mapping(0, 100400)}
    container.config["mounts"] += [bind(source, "/mnt", "bind", "idmap") | own]
    assert container.says(OWNERS) == "/mnt/root 300:400\n/mnt/other 307:408"


def test_must_MNT4_without(container: Container, source: pathlib.Path) -> None:
    """Nothing is mapped that nobody asked for: in a user namespace the files of the host are nobody's."""
    user_namespace(container.bundle)
    container.config["mounts"] += [bind(source, "/mnt", "bind")]
    assert container.says(OWNERS) == "/mnt/root 65534:65534\n/mnt/other 65534:65534"


@crun_does_not("leaves a cgroup behind")
@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_must_MNT5(container: Container, source: pathlib.Path, word: str) -> None:
    """idmap without any mapping to apply, neither the mount's nor the container's, is an error."""
    container.config["mounts"] += [bind(source, "/mnt", "bind", word)]
    container.refused("mounts.7")


@crun_does_not("leaves a cgroup behind")
@pytest.mark.parametrize("options", [["bind"], ["bind", "idmap"]], ids=str)
@pytest.mark.parametrize("userns", [False, True], ids=["", "user namespace"])
@pytest.mark.parametrize("key", MAPPED)
def test_must_MNT6(container: Container, source: pathlib.Path, key: str, userns: bool, options: list[str]) -> None:
    """A mount has both mappings or none."""
    if userns:
        user_namespace(container.bundle)
    container.config["mounts"] += [bind(source, "/mnt", *options) | {key: MAPPED[key]}]
    container.refused("mounts.7")

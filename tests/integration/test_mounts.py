"""mounts[]: every option, seen from inside the container (proc_pid_mountinfo(5)), and what a mount is made of."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.integration.attack_scene import assert_refused, lean
from tests.integration.conftest import Bundle, Run

QUICK = "--cgroup-manager=disabled"


class Seen(NamedTuple):
    """One mount as the container sees it."""

    options: set[str]
    propagation: set[str]
    kind: str
    superblock: set[str]


def seen(text: str) -> dict[str, Seen]:
    """Return the mounts of a mountinfo: the topmost one of each place."""
    found = {}
    for line in text.splitlines():
        mount, _, filesystem = line.partition(" - ")
        _, _, _, _, place, options, *optional = mount.split()
        kind, _, superblock = filesystem.split()
        propagation = {word.partition(":")[0] for word in optional}
        found[place] = Seen(set(options.split(",")), propagation, kind, set(superblock.split(",")))
    return found


class Scene:
    """A container that tells of its mounts."""

    def __init__(self, run: Run, bundle: Bundle, container_id: str) -> None:
        self.run, self.bundle, self.id = run, lean(bundle), container_id

    def mount(self, destination: str, options: list[str] | None = None, **entry: Any) -> Scene:
        made = {"destination": destination, **entry}
        if options is not None:
            made["options"] = options
        self.bundle.config["mounts"].append(made)
        return self

    def tell(self, script: str) -> subprocess.CompletedProcess[str]:
        self.bundle.sh(script)
        return self.run(QUICK, "run", "--bundle", self.bundle.path, self.id)

    def output(self, script: str) -> str:
        done = self.tell(script)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def seen(self) -> dict[str, Seen]:
        return seen(self.output("cat /proc/self/mountinfo"))


@pytest.fixture
def scene(run: Run, bundle: Bundle, container_id: str) -> Scene:
    return Scene(run, bundle, container_id)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Return a mount of the host's, shared as all of its are, with another one on `below`."""
    path = tmp_path / "tree"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tree", path], check=True)
    (path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", path / "below"], check=True)
    yield path
    subprocess.run(["umount", "--recursive", path], check=True)


@pytest.fixture
def crun(runtime: str) -> bool:
    return os.path.basename(runtime) == "crun"


# -- one filesystem: the options, what must be among those of the mount, what must not, what the filesystem says

ON_A_FILESYSTEM = {
    "defaults": (["defaults"], "rw relatime", "nosuid nodev noexec", ""),
    "ro": (["ro"], "ro", "rw", ""),
    "rw": (["ro", "rw"], "rw", "ro", "rw"),
    "nosuid": (["nosuid"], "nosuid", "", ""),
    "suid": (["nosuid", "suid"], "", "nosuid", ""),
    "nodev": (["nodev"], "nodev", "", ""),
    "dev": (["nodev", "dev"], "", "nodev", ""),
    "noexec": (["noexec"], "noexec", "", ""),
    "exec": (["noexec", "exec"], "", "noexec", ""),
    "noatime": (["noatime"], "noatime", "relatime", ""),
    "atime": (["noatime", "atime"], "", "noatime", ""),
    "nodiratime": (["nodiratime"], "nodiratime", "", ""),
    "diratime": (["nodiratime", "diratime"], "", "nodiratime", ""),
    "relatime": (["noatime", "relatime"], "relatime", "noatime", ""),
    "norelatime": (["norelatime"], "", "noatime", ""),
    "strictatime": (["strictatime"], "", "relatime noatime", ""),
    "nostrictatime": (["nostrictatime"], "relatime", "noatime", ""),
    "nosymfollow": (["nosymfollow"], "nosymfollow", "", ""),
    "symfollow": (["nosymfollow", "symfollow"], "", "nosymfollow", ""),
    "sync": (["sync"], "", "", "sync"),
    "async": (["async"], "", "sync", ""),
    "dirsync": (["dirsync"], "", "", "dirsync"),
    "mand": (["mand"], "", "", ""),  # Linux 5.15 took what it did away, and the word is still understood
    "nomand": (["nomand"], "", "", ""),
    "lazytime": (["lazytime"], "", "", "lazytime"),
    "nolazytime": (["nolazytime"], "", "lazytime", ""),
    "silent": (["silent"], "", "", ""),
    "loud": (["loud"], "", "", ""),
    "iversion": (["iversion"], "", "", ""),
    "noiversion": (["noiversion"], "", "", ""),
    "rsync": (["rsync"], "", "", ""),
    "rasync": (["rasync"], "", "", ""),
    "rdirsync": (["rdirsync"], "", "", ""),
    "rmand": (["rmand"], "", "", ""),
    "rnomand": (["rnomand"], "", "", ""),
    "tmpcopyup": (["tmpcopyup"], "", "", ""),
    "dest-nofollow": (["dest-nofollow"], "", "", ""),
    "data": (["size=64k", "nr_inodes=10"], "", "", "size=64k nr_inodes=10"),
}
# known to the spec, and handed by crun 1.21 to the filesystem, which does not know them
UNKNOWN_TO_CRUN = set("nosymfollow symfollow lazytime nolazytime silent loud iversion noiversion".split())


@pytest.mark.parametrize("word", ON_A_FILESYSTEM)
def test_option_of_a_filesystem(scene: Scene, word: str, crun: bool) -> None:
    if crun and word in UNKNOWN_TO_CRUN:
        pytest.skip("crun 1.21 takes it for the filesystem's")
    options, there, missing, superblock = ON_A_FILESYSTEM[word]
    mount = scene.mount("/m", options, type="tmpfs", source="tmpfs").seen()["/m"]
    assert mount.kind == "tmpfs"
    assert set(there.split()) <= mount.options
    assert not set(missing.split()) & (
        mount.options | mount.superblock if missing in ("sync", "lazytime") else mount.options
    )
    assert set(superblock.split()) <= mount.superblock


# -- a tree: the options; what is seen at its top and at the mount below it

ON_A_TREE = {
    "bind": (["bind"], "rw", None),
    "rbind": (["rbind"], "rw", "rw"),
    "ro": (["rbind", "ro"], "ro", "rw"),
    "rro": (["rbind", "rro"], "ro", "ro"),
    "rrw": (["rbind", "rro", "rrw"], "rw", "rw"),
    "rnosuid": (["rbind", "rnosuid"], "nosuid", "nosuid"),
    "rsuid": (["rbind", "rnosuid", "rsuid"], "rw", "rw"),
    "rnodev": (["rbind", "rnodev"], "nodev", "nodev"),
    "rdev": (["rbind", "rnodev", "rdev"], "rw", "rw"),
    "rnoexec": (["rbind", "rnoexec"], "noexec", "noexec"),
    "rexec": (["rbind", "rnoexec", "rexec"], "rw", "rw"),
    "rnoatime": (["rbind", "rnoatime"], "noatime", "noatime"),
    "ratime": (["rbind", "rnoatime", "ratime"], "relatime", "relatime"),
    "rnodiratime": (["rbind", "rnodiratime"], "nodiratime", "nodiratime"),
    "rdiratime": (["rbind", "rnodiratime", "rdiratime"], "rw", "rw"),
    "rrelatime": (["rbind", "rrelatime"], "relatime", "relatime"),
    "rnorelatime": (["rbind", "rnorelatime"], "rw", "rw"),
    "rstrictatime": (["rbind", "rstrictatime"], "rw", "rw"),
    "rnostrictatime": (["rbind", "rnostrictatime"], "relatime", "relatime"),
    "rnosymfollow": (["rbind", "rnosymfollow"], "nosymfollow", "nosymfollow"),
    "rsymfollow": (["rbind", "rnosymfollow", "rsymfollow"], "rw", "rw"),
    "src-nofollow": (["rbind", "src-nofollow"], "rw", "rw"),
    "copy-symlink": (["rbind", "copy-symlink"], "rw", "rw"),  # of what is no link: an ordinary bind
    "unknown": (["rbind", "none-of-ours=1"], "rw", "rw"),  # data, of which a bind has none
}
EXACT = {"rw", "relatime"}


@pytest.mark.parametrize("word", ON_A_TREE)
def test_option_of_a_tree(scene: Scene, word: str, tree: pathlib.Path, crun: bool) -> None:
    if crun and word in ("rnosymfollow", "rsymfollow", "rrelatime", "rnorelatime", "rnostrictatime"):
        pytest.skip("crun 1.21 does not know it, or refuses it")
    options, top, below = ON_A_TREE[word]
    mounts = scene.mount("/m", options, type="bind", source=str(tree)).seen()
    for place, expected in (("/m", top), ("/m/below", below)):
        if expected is None:
            assert place not in mounts
        else:
            assert expected in mounts[place].options
            if expected in EXACT and word not in ("rstrictatime",):
                assert mounts[place].options == {"rw", "relatime"}


PROPAGATION = {
    "shared": ({"shared", "master"}, {"master"}),
    "rshared": ({"shared", "master"}, {"shared", "master"}),
    "slave": ({"master"}, {"master"}),
    "rslave": ({"master"}, {"master"}),
    "private": (set(), {"master"}),
    "rprivate": (set(), set()),
    "unbindable": ({"unbindable"}, {"master"}),
    "runbindable": ({"unbindable"}, {"unbindable"}),
}


@pytest.mark.parametrize("word", PROPAGATION)
def test_propagation(scene: Scene, word: str, tree: pathlib.Path, crun: bool) -> None:
    top, below = PROPAGATION[word]
    mounts = scene.mount("/m", ["rbind", word], type="bind", source=str(tree)).seen()
    if crun:  # it cuts the root off with rprivate, and what it binds with it
        top, below = top - {"master"}, below - {"master"}
    assert (mounts["/m"].propagation, mounts["/m/below"].propagation) == (top, below)


@pytest.mark.parametrize("shared_root", [True, False])
def test_mounts_go_to_the_host_only_where_both_ask_for_it(scene: Scene, tree: pathlib.Path, shared_root: bool) -> None:
    scene.bundle.config["linux"]["rootfsPropagation"] = "rshared" if shared_root else "rslave"
    for kind in scene.bundle.config["process"]["capabilities"].values():
        kind.append("CAP_SYS_ADMIN")
    scene.mount("/m", ["bind", "rshared"], type="bind", source=str(tree))
    scene.output("mkdir /m/new && mount -t tmpfs inside /m/new && touch /m/new/mark")
    assert (tree / "new/mark").exists() == shared_root


@pytest.mark.parametrize("word", ["shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable"])
def test_propagation_of_the_root(scene: Scene, word: str) -> None:
    scene.bundle.config["linux"]["rootfsPropagation"] = word
    found = scene.seen()["/"].propagation
    kind = word.removeprefix("r")
    assert found - {"master"} == ({kind} if kind in ("shared", "unbindable") else set())


# -- what a tmpfs takes over


@pytest.mark.parametrize(("options", "expected"), [
    (["nosuid"], "2750 0:0"), (["mode=700"], "700 0:0"), (["tmpcopyup"], "2750 5:6"), (["tmpcopyup", "mode=711"], "711 5:6"),
    (["tmpcopyup", "uid=3"], "2750 3:0"), (["tmpcopyup", "ro"], "2750 5:6"),
])  # fmt: skip
def test_tmpfs_is_like_what_it_covers(scene: Scene, options: list[str], expected: str, crun: bool) -> None:
    if crun and expected.endswith("5:6"):
        pytest.skip("crun leaves the copy's own directory to root")
    place = scene.bundle.rootfs / "m"
    place.mkdir()
    os.chown(place, 5, 6)
    place.chmod(0o2750)
    scene.mount("/m", options, type="tmpfs", source="tmpfs")
    assert scene.output("stat -c '%a %u:%g' /m").strip() == expected


def test_tmpfs_in_a_new_place_is_open_to_all(scene: Scene) -> None:
    assert scene.mount("/n", [], type="tmpfs", source="t").output("stat -c %a /n").strip() == "1777"


@pytest.mark.parametrize("options", [["tmpcopyup"], ["tmpcopyup", "ro"]])
@pytest.mark.parametrize("user", [False, True])
def test_tmpcopyup(scene: Scene, options: list[str], user: bool, crun: bool) -> None:
    """Everything is there as it was: kinds, modes, owners, times, links of both kinds, attributes."""
    if crun:
        pytest.skip("crun copies links as files, and no times")
    image = scene.bundle.rootfs / "m"
    (image / "sub/deep").mkdir(parents=True)
    (image / "sub/file").write_text("content" * 10_000)
    (image / "sub/file").chmod(0o4755)
    os.link(image / "sub/file", image / "twin")
    (image / "link").symlink_to("sub/file")
    (image / "dangling").symlink_to("/nothing/there")
    (image / "empty").touch()
    (image / "wéird \n").touch()
    os.mkfifo(image / "fifo", 0o640)
    os.setxattr(image / "empty", "trusted.note" if not user else "security.note", b"kept")
    base = 100_000 if user else 0
    for path in (image, *image.rglob("*")):
        os.chown(path, base + 3, base + 4, follow_symlinks=False)
        os.utime(path, (1000, 2000), follow_symlinks=False)
    (image / "sub/file").chmod(0o4755)  # changing the owner took it away
    image.chmod(0o777)  # the container's root has few capabilities
    expected = {
        f"./{path.relative_to(image)}": (stat.filemode(s.st_mode), s.st_uid - base, s.st_nlink, int(s.st_mtime))
        for path in image.rglob("*")
        for s in [path.lstat()]
        if path.name[0] != "w"
    }
    if user:
        into_user_namespace(scene)
    scene.mount("/m", options, type="tmpfs", source="tmpfs")
    script = "cd /m; find . ! -name 'w*' -mindepth 1 | while read -r n; do stat -c '%n;%A;%u;%h;%Y' \"$n\"; done"
    script += "; md5sum < sub/file; readlink dangling; ls | wc -l; touch /m/new && echo written"
    *lines, checksum, link, count, last = scene.tell(script).stdout.splitlines() + ([""] if "ro" in options else [])
    found = {
        name: (mode, int(uid), int(links), int(when)) for name, mode, uid, links, when in (x.split(";") for x in lines)
    }
    directories = {name for name, value in expected.items() if value[0][0] == "d"}  # sizes of tmpfs: links differ
    assert {n: v for n, v in found.items() if n not in directories} == {
        n: v for n, v in expected.items() if n not in directories
    }
    assert {n: (found[n][0], found[n][1], found[n][3]) for n in directories} == {
        n: (expected[n][0], expected[n][1], expected[n][3]) for n in directories
    }
    assert link == "/nothing/there"
    assert int(count) == len(list(image.iterdir()))
    assert (
        checksum.split()[0]
        == subprocess.run(["md5sum", image / "sub/file"], capture_output=True, text=True).stdout.split()[0]
    )
    assert last == ("" if "ro" in options else "written")


def into_user_namespace(scene: Scene, base: int = 100_000) -> None:
    """Give the container a user namespace, and the image to its root."""
    linux = scene.bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": base, "size": 65536}]
    for path in scene.bundle.rootfs.parents[:4]:
        path.chmod(path.stat().st_mode | 0o111)  # the container's root has to get there
    for path in (scene.bundle.rootfs, *scene.bundle.rootfs.rglob("*")):
        if path.lstat().st_uid < base:
            os.chown(path, base, base, follow_symlinks=False)


def test_tmpcopyup_is_for_a_tmpfs(scene: Scene, tmp_path: pathlib.Path) -> None:
    scene.mount("/m", ["bind", "tmpcopyup"], type="bind", source=str(tmp_path))
    assert_refused(scene.tell("true"), "tmpcopyup")


# -- links


def test_copy_symlink(scene: Scene, tmp_path: pathlib.Path, crun: bool) -> None:
    if crun:
        pytest.skip("crun 1.21 is too old for it")
    (tmp_path / "link").symlink_to("/where/ever")
    scene.mount("/deep/l", ["rbind", "copy-symlink"], type="bind", source=str(tmp_path / "link"))
    assert scene.output("readlink /deep/l") == "/where/ever\n"
    assert scene.output("readlink /deep/l") == "/where/ever\n"  # there already, and the same
    (scene.bundle.rootfs / "deep/l").unlink()
    (scene.bundle.rootfs / "deep/l").symlink_to("/somewhere/else")
    assert_refused(scene.tell("true"), "/deep/l")


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_missing_is_made(scene: Scene, tmp_path: pathlib.Path, kind: str) -> None:
    source = tmp_path / "source"
    source.write_text("here\n") if kind == "file" else source.mkdir()
    scene.mount("a/b/c", ["bind"], type="bind", source=str(source))  # relative: MNT2
    assert scene.output("stat -c %F /a/b/c").strip() == {"file": "regular file", "directory": "directory"}[kind]


def test_a_missing_source_is_named(scene: Scene) -> None:
    done = scene.mount("/m", ["bind"], type="bind", source="/no/such").tell("true")
    assert_refused(done, "/no/such")
    assert "No such file or directory" in done.stderr


# -- remount


def test_remount_of_the_mount(scene: Scene) -> None:
    scene.mount("/m", ["size=1m"], type="tmpfs", source="t").mount(
        "/m", ["remount", "ro", "nosuid"], type="tmpfs", source="t"
    )
    assert {"ro", "nosuid"} <= scene.seen()["/m"].options


def test_remount_of_the_filesystem(scene: Scene) -> None:
    scene.mount("/m", ["size=1m"], type="tmpfs", source="t").mount(
        "/m", ["remount", "size=2m"], type="tmpfs", source="t"
    )
    assert "size=2048k" in scene.seen()["/m"].superblock


# -- defaults


def test_mounts_without_options(scene: Scene) -> None:
    for entry in scene.bundle.config["mounts"]:
        entry.pop("options", None)
    mounts = scene.seen()
    assert {"nosuid", "noexec", "nodev"} <= mounts["/proc"].options & mounts["/dev/shm"].options & mounts[
        "/sys"
    ].options
    assert "nosuid" in mounts["/dev"].options
    assert {"mode=755", "size=65536k"} <= mounts["/dev"].superblock
    assert {"mode=620", "ptmxmode=666", "gid=5"} <= mounts["/dev/pts"].superblock

"""Names below the root filesystem, whatever the image put there: resolved as chroot would, never above the root.

The init runs in namespaces of its own and has its root filesystem in a directory of the test. Where a mount landed is
read in the mountinfo that the init's last op shows. Beside the root lies `outside`, which must stay as it is.
"""

from __future__ import annotations

import errno
import os
import pathlib
import stat
from typing import Any

import pytest

from pyoci_systemd.plan import ops
from pyoci_systemd.plan.mounts import NO_SYMLINKS, TARGET_NOFOLLOW
from pyoci_systemd.plan.ops import Op
from pyoci_systemd.plan.words import CLONE_TREE, NOFOLLOW
from tests.unit.player import ERROR, Reply, execute, play, private

DIRECTORY, FILE = None, b"content"
Tree = dict[str, Any]  # path below the root: DIRECTORY, FILE, or the target of a link
OUTSIDE = "OUTSIDE"  # in a link's target: the directory outside, by its path on the machine


class Root:
    """A root filesystem in a directory, and what lies beside it."""

    def __init__(self, place: pathlib.Path) -> None:
        self.path = place / "rootfs"
        self.outside = place / "outside"
        self.source = place / "source"
        for directory in (self.path, self.outside, self.source):
            directory.mkdir()
        (self.outside / "mark").write_text("as it was")
        (self.outside / "file").write_text("as it was")
        (self.source / "file").write_text("bound")
        (self.source / "link").symlink_to("file")

    def make(self, tree: Tree) -> None:
        for name, content in tree.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is DIRECTORY:
                path.mkdir()
            elif isinstance(content, str):
                path.symlink_to(content.replace(OUTSIDE, str(self.outside)))
            else:
                path.write_bytes(content)

    def play(self, *wanted: Op) -> tuple[list[str], int]:
        """Play ops in the root. Return the places of the mounts marked `mark`, below the root, and the errno or 0."""
        cat = execute("cat", "/proc/self/mountinfo")
        replies, ended = play(ops.Rootfs(str(self.path)), *wanted, *cat, wrap=private())
        if replies:
            ((kind, index, error, _),) = replies
            assert (kind, ended.status) == (ERROR, 1)
            assert 1 <= index <= len(wanted), f"op {index}: {os.strerror(error)}"
            return [], error
        assert ended.status == 0
        lines = [line.split() for line in ended.output.decode().splitlines()]
        mine = [line for line in lines if line[-2] == "mark" or line[3].endswith("/source/file") or line[3] == "/null"]
        return [os.path.relpath(line[4].encode().decode("unicode_escape"), self.path) for line in mine], 0

    def nothing_happened_outside(self) -> bool:
        found = {path.name: path.read_text() for path in self.outside.iterdir()}
        return found == {"mark": "as it was", "file": "as it was"}


@pytest.fixture
def root(tmp_path: pathlib.Path) -> Root:
    return Root(tmp_path)


def mount(target: str, resolve: int = 0) -> ops.Op:
    return ops.Mount("tmpfs", "mark", target, [], "", resolve, 0, 0, 0, 0, 0)


def bind(root: Root, target: str, resolve: int = 0, source: str = "file", flags: int = 0) -> list[ops.Op]:
    path = str(root.source / source)
    return [ops.Tree(path, target, CLONE_TREE | flags, 0), ops.Bind(path, target, 0, 0, resolve, 0, 0, 0, 0, 0)]


# what lies in the root, the target, where a directory is mounted or the errno
DIRECTORIES: dict[str, tuple[Tree, str, str | int]] = {
    "existing": ({"a": DIRECTORY}, "/a", "a"),
    "missing": ({}, "/a", "a"),
    "missing, deep": ({}, "/a/b/c/d", "a/b/c/d"),
    "half missing": ({"a/b": DIRECTORY}, "/a/b/c/d", "a/b/c/d"),
    "relative": ({}, "a/b", "a/b"),
    "slashes": ({}, "//a///b//", "a/b"),
    "dot": ({}, "/a/./b/.", "a/b"),
    "back": ({"b": DIRECTORY}, "/a/../b", "b"),
    "above the root": ({}, "/../../../a", "a"),
    "above the root, in between": ({}, "/a/../../../b", "b"),
    "name with blanks": ({}, "/a b/\tc", "a b/\tc"),
    "longest name": ({}, "/" + "x" * 255, "x" * 255),
    # links that lead somewhere
    "link": ({"real": DIRECTORY, "l": "real"}, "/l", "real"),
    "absolute link": ({"real": DIRECTORY, "l": "/real"}, "/l", "real"),
    "link as parent": ({"real": DIRECTORY, "l": "real"}, "/l/sub/deep", "real/sub/deep"),
    "absolute link as parent": ({"real": DIRECTORY, "l": "/real"}, "/l/sub", "real/sub"),
    "link upwards": ({"real": DIRECTORY, "d/l": "../real"}, "/d/l/sub", "real/sub"),
    "link above the root": ({"real": DIRECTORY, "l": "../../../../../real"}, "/l/sub", "real/sub"),
    "link to the root": ({"l": "/"}, "/l/sub", "sub"),
    "link to itself by name": ({"real": DIRECTORY, "a": "b", "b": "c", "c": "real"}, "/a/sub", "real/sub"),
    # links that lead nowhere: the place is made where they lead
    "dangling": ({"l": "missing"}, "/l", "missing"),
    "dangling, deep": ({"l": "missing/deep/er"}, "/l", "missing/deep/er"),
    "dangling, absolute": ({"d/l": "/missing/deep"}, "/d/l", "missing/deep"),
    "dangling, beside": ({"d/l": "missing"}, "/d/l", "d/missing"),
    "dangling, upwards": ({"d/l": "../missing"}, "/d/l", "missing"),
    "dangling, above the root": ({"d/l": "../../../../missing"}, "/d/l", "missing"),
    "dangling as parent": ({"l": "missing"}, "/l/sub", "missing/sub"),
    "dangling as parent, absolute": ({"l": "/missing"}, "/l/sub", "missing/sub"),
    "chain": ({"a": "b", "b": "/c", "c": "d/e"}, "/a", "d/e"),
    "chain through parents": ({"a": "b/x", "b": "c"}, "/a/y", "c/x/y"),
    # what cannot be
    "link to itself": ({"l": "l"}, "/l", errno.ELOOP),
    "loop": ({"a": "b", "b": "/a"}, "/a/sub", errno.ELOOP),
    "loop, longer by each round": ({"l": "l/x"}, "/l", errno.ELOOP),
    "endless chain": ({f"l{n}": f"l{n + 1}" for n in range(60)}, "/l0", errno.ELOOP),
    "file as parent": ({"f": FILE}, "/f/sub", errno.ENOTDIR),
    "link to a file as parent": ({"f": FILE, "l": "f"}, "/l/sub", errno.ENOTDIR),
    "name too long": ({}, "/" + "x" * 256, errno.ENAMETOOLONG),
    "name too long, below a missing one": ({}, "/a/" + "x" * 256, errno.ENAMETOOLONG),
    "path too long": ({}, "/a" * 3000, errno.ENAMETOOLONG),
    "magic": ({"l": "/proc/self/root"}, "/l/sub", "proc/self/root/sub"),  # no proc there: plain names
}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_directory(name: str, root: Root) -> None:
    tree, target, expected = DIRECTORIES[name]
    root.make(tree)
    places, error = root.play(mount(target))
    assert (places, error) == (([expected], 0) if isinstance(expected, str) else ([], expected))
    assert root.nothing_happened_outside()


@pytest.mark.parametrize(
    "link", [OUTSIDE, f"{OUTSIDE}/new", f"../../../../../../../..{OUTSIDE}", "../outside", "../outside/new"]
)
@pytest.mark.parametrize("target", ["/l", "/l/sub"])
def test_a_link_out_of_the_root_stays_in_it(link: str, target: str, root: Root) -> None:
    root.make({"l": link})
    ((place,), error) = root.play(mount(target))
    assert error == 0
    assert not place.startswith("..")
    assert (root.path / place).is_dir()  # made below the root, at the path that lies outside of it
    assert root.nothing_happened_outside()


def test_file_where_a_directory_is_needed(root: Root) -> None:
    root.make({"f": FILE})
    assert root.play(mount("/f"))[1] in (errno.ENOTDIR, errno.EINVAL)
    assert (root.path / "f").read_bytes() == FILE


# the same for a file that is bound
FILES: dict[str, tuple[Tree, str, str | int]] = {
    "existing": ({"f": FILE}, "/f", "f"),
    "missing": ({}, "/f", "f"),
    "missing, deep": ({}, "/a/b/f", "a/b/f"),
    "link": ({"real": FILE, "l": "real"}, "/l", "real"),
    "dangling": ({"l": "missing"}, "/l", "missing"),
    "dangling, deep": ({"etc/resolv.conf": "../run/x/resolv.conf"}, "/etc/resolv.conf", "run/x/resolv.conf"),
    "dangling, absolute": ({"etc/resolv.conf": "/run/x/resolv.conf"}, "/etc/resolv.conf", "run/x/resolv.conf"),
    "above the root": ({"l": "../../../f"}, "/l", "f"),
    "loop": ({"a": "b", "b": "a"}, "/a", errno.ELOOP),
    "file as parent": ({"f": FILE}, "/f/sub", errno.ENOTDIR),
}


@pytest.mark.parametrize("name", FILES)
def test_file(name: str, root: Root) -> None:
    tree, target, expected = FILES[name]
    root.make(tree)
    places, error = root.play(*bind(root, target))
    assert (places, error) == (([expected], 0) if isinstance(expected, str) else ([], expected))
    if isinstance(expected, str):
        made = root.path / expected
        assert made.is_file()
        assert made.read_bytes() == (FILE if tree.get(expected) == FILE else b"")  # the place, not what is bound to it
    assert root.nothing_happened_outside()


def test_directory_where_a_file_is_needed(root: Root) -> None:
    root.make({"d": DIRECTORY})
    assert root.play(*bind(root, "/d"))[1] in (errno.ENOTDIR, errno.EINVAL)


def test_file_bound_twice_to_a_name_with_a_slash(root: Root) -> None:
    """What worked for a missing target works for one that is there, or neither does."""
    first = root.play(*bind(root, "/d/f/"))[1]
    assert root.play(*bind(root, "/d/f/"))[1] == first


# -- nodes and links, whose last name is never followed


def fifo(path: str) -> ops.Op:
    return ops.Mknod(path, stat.S_IFIFO | 0o640, 0, 0, 0, 0)


def symlink(path: str) -> ops.Op:
    return ops.Symlink("to", path, 0)


PARENTS: dict[str, tuple[Tree, str, str | int]] = {
    "in the root": ({}, "/n", "n"),
    "relative": ({}, "n", "n"),
    "existing parent": ({"dev": DIRECTORY}, "/dev/n", "dev/n"),
    "missing parent": ({}, "/dev/deep/n", "dev/deep/n"),
    "parent is a link": ({"real": DIRECTORY, "dev": "real"}, "/dev/n", "real/n"),
    "parent is a dangling link": ({"dev": "/missing"}, "/dev/n", "missing/n"),
    "parent is a link out of the root": ({"dev": "../outside"}, "/dev/n", "outside/n"),  # CVE-2026-47766
    "parent above the root": ({}, "/../../n", "n"),
    "parent is a file": ({"dev": FILE}, "/dev/n", errno.ENOTDIR),
    "parent is a loop": ({"dev": "dev"}, "/dev/n", errno.ELOOP),
    "no name": ({}, "/dev/", errno.EINVAL),
    "dot": ({}, "/dev/.", errno.EINVAL),
    "dots": ({}, "/dev/..", errno.EINVAL),
    "the root": ({}, "/", errno.EINVAL),
    "nothing": ({}, "", errno.EINVAL),
    "name too long": ({}, "/" + "x" * 256, errno.ENAMETOOLONG),
    "path too long": ({}, "/a" * 3000, errno.EINVAL),
}


@pytest.mark.parametrize("name", PARENTS)
def test_node_and_link(name: str, root: Root) -> None:
    tree, path, expected = PARENTS[name]
    root.make(tree)
    for make, kind in ((fifo, stat.S_ISFIFO), (symlink, stat.S_ISLNK)):
        error = root.play(make(path))[1]
        assert error == (0 if isinstance(expected, str) else expected)
        if isinstance(expected, str):
            place = root.path / expected
            assert kind(place.lstat().st_mode)
            place.unlink()
    assert root.nothing_happened_outside()


def test_node_is_made_as_asked_whatever_the_umask(root: Root) -> None:
    root.play(ops.Umask(0o077), ops.Umask(0), fifo("/n"))
    assert (root.path / "n").stat().st_mode == stat.S_IFIFO | 0o640


@pytest.mark.parametrize("there", [FILE, DIRECTORY, "elsewhere", "/dev/null", f"{OUTSIDE}/file"])
def test_something_else_stands_where_a_node_is_to_be(there: Any, root: Root) -> None:  # DEV2
    root.make({"n": there})
    before = (root.path / "n").lstat().st_mode
    assert root.play(fifo("/n"))[1] == errno.EEXIST
    assert (root.path / "n").lstat().st_mode == before
    assert root.nothing_happened_outside()


def test_node_that_is_there_is_fine(root: Root) -> None:
    os.mkfifo(root.path / "n", 0o600)
    assert root.play(fifo("/n"))[1] == 0


@pytest.mark.parametrize("there", [FILE, DIRECTORY, "elsewhere", f"{OUTSIDE}/file"])
def test_link_leaves_what_is_there(there: Any, root: Root) -> None:
    root.make({"n": there})
    before = (root.path / "n").lstat().st_mode
    assert root.play(symlink("/n"))[1] == 0
    assert (root.path / "n").lstat().st_mode == before


# -- links that must not be followed


@pytest.mark.parametrize(("tree", "target", "expected"), [
    ({}, "/proc", "proc"),
    ({"proc": DIRECTORY}, "/proc", "proc"),
    ({}, "/a/proc", "a/proc"),
    ({"proc": "real", "real": DIRECTORY}, "/proc", None),
    ({"proc": "missing"}, "/proc", None),
    ({"proc": "../outside"}, "/proc", None),
    ({"a": "real", "real/proc": DIRECTORY}, "/a/proc", None),
    ({"a": "real", "real": DIRECTORY}, "/a/proc", None),
    ({"a": "missing"}, "/a/proc", None),
    ({"real/l": "../x", "x": DIRECTORY}, "/missing/../real/l/proc", None),
])  # fmt: skip
def test_proc_and_sys_are_reached_through_no_link(tree: Tree, target: str, expected: str | None, root: Root) -> None:
    """CVE-2019-19921 and its kin."""
    root.make(tree)
    places, error = root.play(mount(target, NO_SYMLINKS))
    if expected is None:
        assert places == []
        assert error in (errno.ELOOP, errno.ENOTDIR, errno.EINVAL)
    else:
        assert (places, error) == ([expected], 0)
    assert root.nothing_happened_outside()


@pytest.mark.parametrize(("tree", "target", "expected"), [
    ({"d": DIRECTORY}, "/d", ["d"]),
    ({"real": DIRECTORY, "l": "real"}, "/l/sub", ["real/sub"]),  # the last name alone
    ({}, "/missing/place", ["missing/place"]),
])  # fmt: skip
def test_target_that_is_no_link(tree: Tree, target: str, expected: list[str], root: Root) -> None:
    """`dest-nofollow`: a link at the end is not followed; all else is as without it."""
    root.make(tree)
    assert root.play(mount(target, TARGET_NOFOLLOW)) == (expected, 0)


def test_target_that_is_a_link_is_not_followed(root: Root) -> None:
    root.make({"real": FILE, "l": "real"})
    places, _ = root.play(*bind(root, "/l", TARGET_NOFOLLOW))
    assert places in ([], ["l"])


def test_source_that_is_a_link(root: Root) -> None:
    assert root.play(*bind(root, "/f", source="link")) == (["f"], 0)
    root.play(
        *bind(root, "/g", source="link", flags=NOFOLLOW)
    )  # the link itself, which can be put on nothing but a link
    assert (root.path / "f").read_bytes() == b""


# -- masks


@pytest.mark.parametrize(("tree", "path", "expected"), [
    ({"f": FILE}, "/f", ["f"]),
    ({"f": FILE, "l": "f"}, "/l", ["f"]),
    ({"f": FILE, "d/l": "../../../f"}, "/d/l", ["f"]),
    ({}, "/missing", []),
    ({}, "/missing/deep", []),
    ({"f": FILE}, "/f/sub", []),
    ({"l": "missing"}, "/l", []),
    ({"l": f"{OUTSIDE}/file"}, "/l", []),
])  # fmt: skip
def test_masked_file(tree: Tree, path: str, expected: list[str], root: Root) -> None:
    root.make(tree)
    assert root.play(ops.Mask(path)) == (expected, 0)
    assert root.nothing_happened_outside()
    assert sorted(p.name for p in root.path.iterdir()) == sorted(
        {name.split("/")[0] for name in tree}
    )  # nothing is made


HIDING: list[type[ops.Mask] | type[ops.ReadOnly]] = [ops.Mask, ops.ReadOnly]
PROC_MAGIC, SYSFS_MAGIC = 0x9FA0, 0x62656572


@pytest.mark.parametrize("kind", HIDING)
@pytest.mark.parametrize(("path", "base", "magic", "expected"), [
    ("/d/f", "/d", PROC_MAGIC, errno.ESTALE),  # another directory stands where proc should
    ("/d/missing", "/d", PROC_MAGIC, errno.ESTALE),  # not taken for a file that proc has not
    ("/no-such/f", "/no-such", SYSFS_MAGIC, errno.ESTALE),
    ("/d/f", "", 0, 0),
    ("/d/missing", "", 0, 0),
])  # fmt: skip
def test_what_is_hidden_must_be_where_it_belongs(
    root: Root, kind: type[ops.Mask] | type[ops.ReadOnly], path: str, base: str, magic: int, expected: int
) -> None:
    root.make({"d/f": FILE})
    assert root.play(kind(path, base, magic))[1] == expected


def test_masks_are_the_host_s_null_whatever_the_image_has(root: Root) -> None:  # CVE-2025-31133
    root.make({"f": FILE, "dev/null": FILE})
    show = execute("stat", "-c", "%F %t:%T", str(root.path / "f"))
    replies, ended = play(ops.Rootfs(str(root.path)), ops.Mask("/f"), *show, wrap=private())
    assert (replies, ended) == ([], (0, b"character special file 1:3\n"))


def test_masked_directory_is_empty_and_read_only(root: Root) -> None:
    root.make({"d/f": FILE})
    show = execute("sh", "-c", f"ls -A {root.path}/d; touch {root.path}/d/x 2>/dev/null || echo refused")
    replies, ended = play(ops.Rootfs(str(root.path)), ops.Mask("/d"), *show, wrap=private())
    assert (replies, ended) == ([], (0, b"refused\n"))


def test_read_only_path_holds_all_below_it(root: Root) -> None:
    root.make({"d/m": DIRECTORY, "d/f": FILE})
    script = (
        f"for p in d/x d/m/x; do touch {root.path}/$p 2>/dev/null && echo $p; done; touch {root.path}/free && echo free"
    )
    replies, ended = play(
        ops.Rootfs(str(root.path)), mount("/d/m"), ops.ReadOnly("/d"), *execute("sh", "-c", script), wrap=private()
    )
    assert (replies, ended) == ([], (0, b"free\n"))


def test_mknod_of_a_device_needs_more_than_a_user_namespace(root: Root) -> None:
    replies, ended = play(
        ops.Rootfs(str(root.path)), ops.Mknod("/n", stat.S_IFCHR | 0o666, 1, 3, 0, 0), *execute("true"), wrap=private()
    )
    assert replies in ([], [Reply(ERROR, 1, errno.EPERM, 0)])
    assert ended.status == bool(replies)

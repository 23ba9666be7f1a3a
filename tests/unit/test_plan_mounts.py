"""mounts[]: every word, what wins when words disagree, what is refused, and what is added unasked."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import idmaps, mounts, ops
from pyoci_systemd.plan.handles import Handles
from tests.unit.plans import config, facts

# linux/mount.h
RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, NODIRATIME, NOSYMFOLLOW = 1, 2, 4, 8, 0x10, 0x20, 0x80, 0x200000
ATIME = 0x70
UNBINDABLE, PRIVATE, SLAVE, SHARED, REC = 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 14

# word: (attr_set, attr_clr) of mount_setattr(2). Whatever touches the access time must clear the whole field.
ATTRIBUTES = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "nodiratime": (NODIRATIME, 0),
    "diratime": (0, NODIRATIME),
    "nosymfollow": (NOSYMFOLLOW, 0),
    "symfollow": (0, NOSYMFOLLOW),
    "noatime": (NOATIME, ATIME),
    "strictatime": (STRICTATIME, ATIME),
    "relatime": (0, ATIME),
    "atime": (0, ATIME),
    "norelatime": (0, 0),
    "nostrictatime": (0, ATIME),
}
PROPAGATION = {
    "shared": SHARED,
    "slave": SLAVE,
    "private": PRIVATE,
    "unbindable": UNBINDABLE,
    "rshared": SHARED | REC,
    "rslave": SLAVE | REC,
    "rprivate": PRIVATE | REC,
    "runbindable": UNBINDABLE | REC,
}
FOR_THE_FILESYSTEM = ("sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime")
HOW = "bind rbind remount src-nofollow dest-nofollow copy-symlink tmpcopyup idmap ridmap".split()
WITHOUT_EFFECT = ("defaults", "silent", "loud", "iversion", "noiversion")

# runtime-spec 1.3, config.md, "Linux mount options": what a runtime MUST understand
REQUIRED = (
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec "
    "noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave "
    "runbindable rw shared silent slave strictatime suid sync unbindable"
).split()


def words(*options: str) -> mounts.Words:
    return mounts.sort_words(options)


def one(destination: str = "/m", cgroup_namespace: bool = True, **mount: Any) -> Any:
    namespaces = [{"type": "mount"}, *([{"type": "cgroup"}] if cgroup_namespace else [])]
    made = config(linux={"namespaces": namespaces}, mounts=[{"destination": destination, **mount}])
    (op,) = planned(made)[1]
    return op


def planned(made: Any, propagation: int = SLAVE | REC, **host: Any) -> tuple[list[Any], list[Any]]:
    """Return what takes the sources, and what attaches them."""
    handles = Handles(1, idmaps.wanted(made))
    attached = mounts.plan(made, facts(**host), "/b", propagation, handles)
    return handles.sources, attached


def tmpfs(*options: str) -> Any:
    return one(type="tmpfs", source="tmpfs", options=list(options))


# -- one word


@pytest.mark.parametrize("word", ATTRIBUTES)
def test_attribute(word: str) -> None:
    sorted_ = words(word)
    assert (sorted_.set, sorted_.clear) == ATTRIBUTES[word]
    assert (sorted_.recursive_set, sorted_.recursive_clear, sorted_.data) == (0, 0, [])


@pytest.mark.parametrize("word", ATTRIBUTES)
def test_recursive_attribute(word: str) -> None:
    sorted_ = words("r" + word)
    assert (sorted_.recursive_set, sorted_.recursive_clear) == ATTRIBUTES[word]
    assert (sorted_.set, sorted_.clear, sorted_.data) == (0, 0, [])


@pytest.mark.parametrize("word", PROPAGATION)
def test_propagation(word: str) -> None:
    assert words(word).propagation == PROPAGATION[word]
    assert words(word).data == []


@pytest.mark.parametrize("word", [*FOR_THE_FILESYSTEM, "size=65536k", "mode=755", "newinstance", "uid", "ro=1"])
def test_parameter_of_the_filesystem(word: str) -> None:
    assert words(word) == mounts.Words(data=[word], how=[])


@pytest.mark.parametrize("word", WITHOUT_EFFECT)
def test_word_without_effect(word: str) -> None:
    assert words(word) == mounts.Words(data=[], how=[])


def test_an_empty_word_is_none() -> None:
    assert words("ro", "").data == []


@pytest.mark.parametrize("word", HOW)
def test_word_that_says_how(word: str) -> None:
    sorted_ = words(word)
    assert (sorted_.how, sorted_.data) == ([word.partition("=")[0]], [])
    assert sorted_.resolve == (mounts.TARGET_NOFOLLOW if word == "dest-nofollow" else 0)


@pytest.mark.parametrize("word", FOR_THE_FILESYSTEM[:5])
def test_recursive_parameter_of_the_filesystem(word: str) -> None:
    assert words("r" + word).data == [word]


@pytest.mark.parametrize("word", REQUIRED)
def test_the_spec_s_words_are_offered(word: str) -> None:
    assert word in mounts.OPTIONS
    if word not in FOR_THE_FILESYSTEM:
        assert words(word).data == []


def test_every_word_that_is_offered_is_in_a_table_here() -> None:
    known = {*ATTRIBUTES, *("r" + word for word in ATTRIBUTES), *PROPAGATION, *FOR_THE_FILESYSTEM, *WITHOUT_EFFECT}
    assert set(mounts.OPTIONS) == known | {*HOW, *("r" + word for word in FOR_THE_FILESYSTEM[:5])}
    assert list(mounts.OPTIONS) == sorted(mounts.OPTIONS)


# -- several words


@pytest.mark.parametrize(("options", "expected"), [
    ("ro rw", (0, RDONLY)),
    ("rw ro", (RDONLY, 0)),
    ("ro rw ro", (RDONLY, 0)),
    ("nosuid nodev noexec ro", (NOSUID | NODEV | NOEXEC | RDONLY, 0)),
    ("nosuid nodev suid", (NODEV, NOSUID)),
    ("noatime relatime", (0, ATIME)),
    ("relatime noatime", (NOATIME, ATIME)),
    ("noatime strictatime", (STRICTATIME, ATIME)),
    ("strictatime noatime", (NOATIME, ATIME)),
    ("nodiratime noatime", (NODIRATIME | NOATIME, ATIME)),  # beside the field, not in it
    ("noatime norelatime", (NOATIME, ATIME)),
])  # fmt: skip
def test_the_last_word_wins(options: str, expected: tuple[int, int]) -> None:
    plain = words(*options.split())
    assert (plain.set, plain.clear) == expected
    recursive = words(*("r" + word for word in options.split()))
    assert (recursive.recursive_set, recursive.recursive_clear) == expected


def test_recursive_and_plain_attributes_are_kept_apart() -> None:
    both = words("rro", "rw")
    assert both.numbers() == (0, RDONLY, RDONLY, 0, 0)


def test_the_last_propagation_wins() -> None:
    assert words("shared", "rprivate").propagation == PRIVATE | REC


@pytest.mark.parametrize("options", ["rbind bind", "bind rbind"])
def test_rbind_is_recursive_wherever_it_stands(options: str) -> None:
    """Both words are flags (MS_BIND, MS_BIND|MS_REC): none takes the other back."""
    assert one(source="/a", options=options.split()).recursive


def test_data_keeps_its_order() -> None:
    assert words("b=2", "nosuid", "a=1", "b=3").data == ["b=2", "a=1", "b=3"]


# -- refusals


@pytest.mark.parametrize("destination", ["/", "//", ".", "/.", "/..", "/../..", "./"])
def test_the_root_cannot_be_mounted_over(destination: str) -> None:
    with pytest.raises(SpecError, match=r"^config\.json: mounts\[0\]\.destination: the root filesystem"):
        one(destination, type="tmpfs")


@pytest.mark.parametrize("destination", ["/...", "/.hidden", "/a/..b"])
def test_names_of_dots_are_names(destination: str) -> None:
    assert one(destination, type="tmpfs").target == destination


@pytest.mark.parametrize(("mount", "message"), [
    ({"type": "bind"}, "source is required for a bind mount"),
    ({"type": "bind", "source": ""}, "source is required for a bind mount"),
    ({"type": "tmpfs", "options": ["rbind"]}, "source is required for a bind mount"),
    ({"source": "x"}, "type is required"),
    ({}, "type is required"),
])  # fmt: skip
def test_what_is_missing(mount: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        one(**mount)
    assert caught.value.message == f"config.json: mounts[0].{message}"


# -- the op


def test_mount() -> None:
    op = one("/dev/shm", type="tmpfs", source="shm", options=["nosuid", "noatime", "mode=1777", "rslave", "rnoexec"])
    assert op == ops.Mount(
        "tmpfs", "shm", "/dev/shm", ["mode=1777"], "", 0, NOSUID | NOATIME, ATIME, NOEXEC, 0, SLAVE | REC
    )


def test_bind() -> None:
    assert one("/data", source="/srv", options=["rbind", "ro", "rprivate"]) == ops.Bind(
        "/srv", "/data", 1, 1, 0, RDONLY, 0, 0, 0, PRIVATE | REC
    )
    # the type alone is enough, and the other way round
    assert one("/data", type="bind", source="/srv").recursive == 0
    assert one("/data", type="none", source="/srv", options=["bind"]).name == "bind"


def test_remount() -> None:
    """A remount needs neither a type nor a source, and comes before `bind`, with which mount(8) writes it."""
    assert one("/data", options=["remount", "bind", "ro"]) == ops.Remount("/data", [], RDONLY, 0, 0, 0, 0)


@pytest.mark.parametrize(("destination", "target"), [
    ("/data", "/data"),
    ("data", "/data"),  # MNT2: relative to the root
    ("a/b", "/a/b"),
    ("//proc", "/proc"),
    ("/a/../b", "/a/../b"),  # resolved by the init, below the root
])  # fmt: skip
def test_destination(destination: str, target: str) -> None:
    assert one(destination, type="tmpfs").target == target


@pytest.mark.parametrize(
    ("source", "expected"), [("/srv", "/srv"), ("srv", "/b/srv"), ("./srv", "/b/./srv"), ("../x", "/b/../x")]
)
def test_source_of_a_bind_is_relative_to_the_bundle(source: str, expected: str) -> None:
    assert one(type="bind", source=source).source == expected


@pytest.mark.parametrize(("mount", "source"), [
    ({"type": "tmpfs"}, "tmpfs"),
    ({"type": "tmpfs", "source": "shm"}, "shm"),
    ({"type": "mqueue"}, "mqueue"),
    ({"type": "proc", "source": None}, "proc"),
])  # fmt: skip
def test_source_of_a_filesystem(mount: dict[str, Any], source: str) -> None:
    assert one(**mount).source == source  # relative names of filesystems are names, not paths


# F157: filesystem, attributes, parameters of a mount that names no options
DEFAULTS = {
    "/proc": ("proc", NOSUID | NOEXEC | NODEV, 0, []),
    "/dev": ("tmpfs", NOSUID | STRICTATIME, ATIME, ["mode=755", "size=65536k"]),
    "/dev/shm": ("tmpfs", NOSUID | NOEXEC | NODEV, 0, ["mode=1777", "size=65536k"]),
    "/dev/mqueue": ("mqueue", NOSUID | NOEXEC | NODEV, 0, []),
    "/dev/pts": ("devpts", NOSUID | NOEXEC, 0, ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    "/sys": ("sysfs", NOSUID | NOEXEC | NODEV, 0, []),
    "/sys/fs/cgroup": ("cgroup2", NOSUID | NOEXEC | NODEV, ATIME, []),
    "/other": ("tmpfs", 0, 0, []),
}


@pytest.mark.parametrize("destination", DEFAULTS)
def test_options_of_well_known_places(destination: str) -> None:
    kind, set_, clear, data = DEFAULTS[destination]
    absent = one(destination, type=kind)
    assert (absent.set, absent.clear, absent.data) == (set_, clear, data)
    empty = one(destination, type=kind, options=[])  # asked for, and nothing
    assert (empty.set, empty.clear, empty.data) == (0, 0, [])


@pytest.mark.parametrize(("kind", "shared"), [
    ("tmpfs", True), ("ext4", False), ("overlay", False),
    ("proc", True), ("sysfs", True), ("cgroup2", True), ("mqueue", True), ("devpts", True),
])  # fmt: skip
def test_read_only_filesystem(kind: str, shared: bool) -> None:
    """The mount is read-only in any case; the superblock only where nobody else has it too."""
    op = one(type=kind, options=["ro"])
    assert op.set == RDONLY
    assert op.data == ([] if shared else ["ro"])
    assert one(type=kind, options=["ro", "rw"]).data == []


def test_proc_and_sys_are_not_reached_through_links() -> None:  # CVE-2019-19921
    for kind in ("proc", "sysfs"):
        assert one("/x", type=kind).resolve == mounts.NO_SYMLINKS
    assert one("/x", type="ext4").resolve == 0


# -- cgroup2


def test_cgroup_means_the_unified_hierarchy() -> None:
    op = one("/sys/fs/cgroup", type="cgroup", source="cgroup", options=["nosuid", "name=systemd", "ro"])
    assert (op.type, op.data, op.set) == ("cgroup2", [], NOSUID | RDONLY)


@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_without_a_namespace_of_its_own_cgroups_are_read_only(kind: str) -> None:  # CVE-2023-25809
    for options in ([], ["rw"], ["ro"], None):
        op = one("/sys/fs/cgroup", False, type=kind, options=options)
        assert op.set & RDONLY
        assert not op.clear & RDONLY
    assert not one("/sys/fs/cgroup", True, type=kind, options=["rw"]).set & RDONLY


def test_recursive_words_do_not_undo_that() -> None:
    """`rrw` is performed over the whole tree before `ro` is over its root: the init's order (mounts.c, finish)."""
    op = one("/sys/fs/cgroup", False, type="cgroup2", options=["rrw"])
    assert op.set & RDONLY


def test_order_is_the_config_s() -> None:
    entries = [{"destination": d, "type": "tmpfs"} for d in ("/b", "/a", "/b/c", "/a")]
    assert [op.target for op in planned(config(mounts=entries))[1]] == ["/b", "/a", "/b/c", "/a"]
    assert planned(config()) == ([], [])


def test_only_cgroups_wait_for_the_scope() -> None:
    assert mounts.shows_cgroups(one("/sys/fs/cgroup", type="cgroup"))
    assert not mounts.shows_cgroups(one("/sys", type="sysfs"))
    assert not mounts.shows_cgroups(one("/sys/fs/cgroup", type="bind", source="/sys/fs/cgroup"))


def opened(*entries: dict[str, Any]) -> list[tuple[str, int, list[str]]]:
    """Return what is mounted, with its attributes and data, and then what is changed at the end."""
    listed = planned(config(mounts=list(entries)))[1]
    closing: list[Any] = mounts.leave_open(listed)
    return [(op.target, op.set, getattr(op, "data", [])) for op in [*listed, *closing]]


def test_a_read_only_tmpfs_is_open_until_all_is_made() -> None:
    dev = {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755", "ro"]}
    below = {"destination": "/dev/pts", "type": "devpts", "options": ["ro"]}
    assert opened(dev, below) == [
        ("/dev", NOSUID, ["mode=755"]),
        ("/dev/pts", RDONLY, []),
        ("/dev", RDONLY, []),
    ]


def test_a_tmpfs_that_is_mounted_over_is_read_only_at_once() -> None:
    tmpfs = {"destination": "/m", "type": "tmpfs", "options": ["ro"]}
    assert opened(tmpfs, {"destination": "/m", "type": "bind", "source": "/x", "options": []}) == [
        ("/m", RDONLY, []),
        ("/m", 0, []),
    ]

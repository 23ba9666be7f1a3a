"""`mounts add` and `mounts remove`: mounts of a container that runs, looked at from inside and from outside.

The machine's crun, 1.21, has no such verb: what a mount is to be is held against what our own `create` makes of it.

Seen red:
    all or none                take_away() left out: what was added before stayed
    a proc of its own          filesystems made before the namespaces are entered: it showed the host's processes
    a paused container         entered with its cgroup: no answer for 20 s
    the root                   its name not looked at: it was unmounted
"""

from __future__ import annotations

import json
import os
import pathlib
import threading
from typing import Any

import pytest

from tests.integration.attack_scene import replace
from tests.integration.exec_scene import OURS, box, one_line, settled
from tests.integration.live_scene import TMPFS, Live, bind, live, named
from tests.integration.test_mounts import into_user_namespace, seen, tree

__all__ = ["box", "live", "tree"]  # fixtures

pytestmark = pytest.mark.skipif(not OURS, reason="crun 1.21 and runc have no `mounts`")


# -- what a mount is: the same as one that a create makes

ALIKE: dict[str, dict[str, Any]] = {
    "tmpfs": TMPFS,
    "tmpfs read-only": {**TMPFS, "options": ["ro", "mode=700", "nr_inodes=20"]},
    "tmpfs without options": {"destination": "/t", "type": "tmpfs"},
    "tmpfs shared": {**TMPFS, "options": ["shared"]},
    "tmpfs unbindable": {**TMPFS, "options": ["unbindable", "noatime", "nodev", "noexec"]},
    "tmpcopyup": {**TMPFS, "destination": "/etc", "options": ["tmpcopyup"]},
    "bind": {"options": ["bind"]},
    "rbind": {"options": ["rbind", "nosuid"]},
    "read-only": {"options": ["rbind", "ro"]},
    "read-only all over": {"options": ["rbind", "rro", "rnodev"]},
    "bind shared": {"options": ["rbind", "rshared"]},
    "bind private": {"options": ["rbind", "rprivate"]},
    "bind slave": {"options": ["bind", "slave"]},
    "proc": {"destination": "/t", "type": "proc", "source": "proc"},
    "sysfs": {"destination": "/t", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
    "mqueue": {"destination": "/t", "type": "mqueue", "source": "mqueue"},
    "devpts": {"destination": "/t", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
    "cgroup": {"destination": "/t", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]},
}  # fmt: skip


@pytest.mark.parametrize("user_namespace", [False, True], ids=["", "user namespace"])
@pytest.mark.parametrize("name", ALIKE)
def test_a_mount_is_what_create_makes(live: Live, tree: pathlib.Path, name: str, user_namespace: bool) -> None:
    mount = {"destination": "/t", "type": "bind", "source": str(tree), **ALIKE[name]}
    if user_namespace:
        into_user_namespace(live.box)  # type: ignore[arg-type]  # what has a bundle
    live.box.up()
    live.add(mount)
    below = [mount["destination"], f"{mount['destination']}/below"]
    added = {place: entry for place, entry in live_mounts(live).items() if place in below}
    assert len(added) == (2 if "rbind" in mount.get("options", ()) else 1)
    live.remove(mount["destination"])
    live.box.run("delete", "--force", live.box.id, check=True)
    live.box.config["mounts"].append(mount)
    live.box.up()
    assert added == {place: entry for place, entry in live_mounts(live).items() if place in below}


def live_mounts(live: Live) -> Any:
    return seen(live.box.sh("cat /proc/self/mountinfo"))


def test_a_file_and_a_directory(live: Live, tmp_path: pathlib.Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("here\n")
    live.box.up()
    live.add(
        bind(tmp_path / "source", "/new/deep", "bind"), bind(tmp_path / "source/file", "/newer/file", "bind", "ro")
    )
    assert live.box.sh("cat /new/deep/file /newer/file; stat -c %F /newer/file") == "here\nhere\nregular file\n"
    assert live.box.sh("(echo more > /new/deep/more && ! echo no > /newer/file) 2> /dev/null && echo so") == "so\n"
    live.remove("/newer/file", "/new/deep")
    assert live.box.sh("ls /new/deep; cat /newer/file") == ""
    assert (tmp_path / "source/more").exists()


def test_a_source_of_the_bundle(live: Live) -> None:
    (live.box.bundle.path / "data").write_text("the bundle's\n")
    live.box.up()
    live.add(bind("data", "/data", "bind"))
    assert live.box.sh("cat /data") == "the bundle's\n"


def test_a_proc_of_its_own(live: Live) -> None:
    """Who is in the container's pid namespace, and not who is in the runtime's."""
    live.box.up()
    live.add({"destination": "/again", "type": "proc", "source": "proc"})
    assert live.box.sh("tr '\\0' ' ' < /again/1/cmdline") == "sleep 1000 "
    # one process looks at both: of a pipeline the one or the other half may not be there yet
    here, again = live.box.sh("cd /proc; echo [0-9]*; cd /again; echo [0-9]*").splitlines()
    assert here == again and len(here.split()) == 2


@pytest.mark.parametrize(("option", "expected"), [
    ("idmap=uids=0-5-10;gids=0-7-10", "5:7 6:8"),
    ("ridmap=uids=0-5-10;gids=0-7-10", "5:7 6:8"),
])  # fmt: skip
def test_other_ids(live: Live, tree: pathlib.Path, option: str, expected: str) -> None:
    for number in (0, 1):
        (tree / str(number)).touch()
        os.chown(tree / str(number), number, number)
    live.box.up()
    live.add(bind(tree, "/t", "rbind", option))
    assert live.box.sh("cd /t; stat -c %u:%g 0 1").split() == expected.split()


def test_in_a_user_namespace(live: Live, tree: pathlib.Path) -> None:
    (tree / "file").touch()
    into_user_namespace(live.box)  # type: ignore[arg-type]
    live.box.up()
    live.add(bind(tree, "/plain", "rbind"), bind(tree, "/mapped", "rbind", "idmap"), TMPFS)
    assert live.box.sh("stat -c %u /plain/file /mapped/file /t").split() == ["65534", "0", "0"]
    live.remove("/plain", "/mapped", "/t")
    assert live.box.sh("ls /plain /mapped").split() == ["/mapped:", "/plain:"]
    assert live.places() == []


def test_a_container_among_the_hosts_processes(live: Live) -> None:
    spaces = live.box.config["linux"]["namespaces"]
    spaces[:] = [entry for entry in spaces if entry["type"] not in ("pid", "network", "ipc", "uts", "cgroup")]
    live.box.config.pop("hostname", None)
    live.box.config["mounts"] = [m for m in live.box.config["mounts"] if m["type"] not in ("sysfs", "mqueue", "cgroup")]
    live.box.up()
    live.add(TMPFS)
    live.remove("/t")


# -- several


def test_they_stand_in_their_order_and_go_the_other_way(live: Live, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    live.box.up()
    before = live.lines()
    file = tmp_path / "mounts.json"
    mounts = [TMPFS, bind(tree, "/t/below", "rbind"), named("upper", destination="/t/below/below"), named("last")]
    file.write_text(json.dumps(mounts))
    live.box.run("mounts", "add", live.box.id, file, check=True)
    assert (live.places("mine"), live.places("upper"), live.places("last")) == (["/t"], ["/t/below/below"], ["/t"])
    parents = {line.split()[0]: line.split()[1] for line in live.lines()}
    last, mine = (
        [line.split()[0] for line in live.lines() if f" - tmpfs {name} " in line] for name in ("last", "mine")
    )
    assert [parents[number] for number in last] == mine
    live.box.run("mounts", "remove", live.box.id, file, check=True)
    assert live.lines() == before


def test_of_several_in_one_place_the_last_goes_first(live: Live) -> None:
    live.box.up()
    live.add(named("one"), named("two"))
    live.add(named("three"))
    for gone in ("three", "two", "one"):
        assert live.places(gone) == ["/t"]
        live.remove("/t")
        assert live.places(gone) == []
    one_line(live("remove", {"destination": "/t"}), "mounts[0]: `/t` is not a mount point")


def test_nothing_is_a_list_too(live: Live) -> None:
    live.box.up()
    before = live.lines()
    live.add()
    live.remove()
    assert live.lines() == before


@pytest.mark.parametrize(("last", "words"), [
    (bind("/no/such", "/x", "bind"), "bind `/no/such` to `/x`: No such file or directory"),
    (bind("/etc", "/bin/busybox", "bind"), "bind `/etc` to `/bin/busybox`: Invalid argument"),
    (bind("/etc/passwd", "/t", "bind"), "bind `/etc/passwd` to `/t`: Invalid argument"),
    (named("x", "no-such-option=1"), "with no-such-option=1: Invalid argument"),
    ({"destination": "/x", "type": "no-such-type"}, "make no-such-type `no-such-type` for `/x`: No such device"),
    (bind("/etc", "/bin/busybox/below", "bind"), "Not a directory"),
    ({"destination": "/t/link", "type": "proc"}, "Too many levels of symbolic links"),
])  # fmt: skip
def test_all_or_none(live: Live, tree: pathlib.Path, last: Any, words: str) -> None:
    replace(live.box.bundle.rootfs / "t", "elsewhere").parent.joinpath("elsewhere").mkdir()
    (live.box.bundle.rootfs / "elsewhere/link").symlink_to("/proc")
    live.box.up()
    before = live.lines()
    first = (
        named("mine", destination="/other"),
        bind(tree, "/other/bound", "rbind"),
        bind("/etc/passwd", "/file", "bind"),
    )
    one_line(live("add", *first, last), "mounts[3]: ", words)
    assert live.lines() == before
    live.add(*first)


def test_what_is_removed_before_one_fails_is_gone(live: Live) -> None:
    live.box.up()
    live.add(named("one", destination="/a"), named("two", destination="/b"))
    done = live("remove", {"destination": "/a"}, {"destination": "/bin"}, {"destination": "/b"})
    one_line(done, "mounts[1]: `/bin` is not a mount point")
    assert (live.places("one"), live.places("two")) == (["/a"], [])


def test_two_at_the_same_time(live: Live) -> None:
    live.box.up()
    names = [f"mine-{number}" for number in range(8)]
    work = [threading.Thread(target=live.add, args=[named(name, destination=f"/{name}")]) for name in names]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert [live.places(name) for name in names] == [[f"/{name}"] for name in names]


# -- where a container is in its life


def test_before_the_start(live: Live) -> None:
    live.box.make()
    live.add(TMPFS)
    assert live.box.state()["status"] == "created"
    live.box.run("start", live.box.id, check=True)
    assert live.places() == ["/t"]
    live.remove("/t")


def test_a_paused_container(live: Live) -> None:
    live.box.up()
    live.box.run("pause", live.box.id, check=True)
    live.add(TMPFS)
    assert live.places() == ["/t"]
    live.remove("/t")
    assert live.box.state()["status"] == "paused"
    live.box.run("resume", live.box.id, check=True)


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_a_container_that_does_not_run(live: Live, verb: str) -> None:
    one_line(live(verb, TMPFS), f"container `{live.box.id}` does not exist")
    live.box.up()
    live.box.run("kill", live.box.id, "KILL", check=True)
    assert settled(lambda: live.box.state()["status"] == "stopped")
    one_line(live(verb, TMPFS), f"cannot {verb} mounts in `{live.box.id}`: container not running")


def test_the_other_verbs_do_not_mind(live: Live, tree: pathlib.Path) -> None:
    live.box.up()
    live.add(TMPFS, bind(tree, "/t/b", "rbind"), bind("/etc/passwd", "/root/passwd", "bind"))
    assert live.box.state()["status"] == "running"
    assert live.box.sh("touch /t/x; ls /t") == "b\nx\n"
    assert live.box.run("ps", live.box.id).returncode == 0
    live.box.run("delete", "--force", live.box.id, check=True)
    assert (tree / "below").is_dir()


def test_without_a_cgroup(live: Live) -> None:
    live.box.config["linux"].pop("resources", None)
    live.box.up("--cgroup-manager=disabled")
    live.add(TMPFS)
    live.remove("/t")


# -- what is wrong

WRONG = {
    "an object": ("{}", "mounts must be a list, not an empty object"),
    "null": ("null", "mounts must be a list, not null"),
    "no JSON": ("[", "standard input: line 1"),
    "nothing": ("", "standard input: "),
    "a number": ("[1]", "mounts[0] must be an object, not 1"),
    "no destination": ('[{"type": "tmpfs"}]', "mounts[0].destination is required"),
    "no type": ('[{"destination": "/x"}]', "mounts[0].type is required"),
    "the root": ('[{"destination": "/", "type": "tmpfs"}]', "mounts[0].destination: the root filesystem"),
    "NUL": ('[{"destination": "/x\\u0000", "type": "tmpfs"}]', "mounts[0].destination must be"),
    "remount": ('[{"destination": "/proc", "options": ["remount", "ro"]}]', "`remount` adds no mount"),
    "mappings": ('[{"destination": "/x", "type": "bind", "source": "/", "options": ["idmap"]}]', "mounts[0]: `idmap` needs"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_list(live: Live, name: str) -> None:
    text, words = WRONG[name]
    live.box.up()
    before = live.lines()
    one_line(live.box.run("mounts", "add", live.box.id, "-", input=text), "standard input: ", words)
    assert live.lines() == before


@pytest.mark.parametrize("destination", ["/", "/..", "/proc/..", ".", "//"])
def test_the_root_is_not_removed(live: Live, destination: str) -> None:
    live.box.up()
    one_line(live("remove", {"destination": destination}), "mounts[0].destination", "does not end in a name")
    assert live.box.sh("echo there") == "there\n"


@pytest.mark.parametrize(("path", "words"), [
    ("/no/such", "No such file or directory"), ("/etc", "not a regular file"), ("/etc/passwd", "`/etc/passwd`"),
])  # fmt: skip
def test_a_wrong_file(live: Live, path: str, words: str) -> None:
    live.box.up()
    done = live.box.run("mounts", "add", live.box.id, path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert words.strip("`") in done.stderr

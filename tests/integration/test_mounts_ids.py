"""Mounts that show other owners: `idmap`, `ridmap`, uidMappings and gidMappings (MNT4–MNT6), looked at from inside.

And what is mounted in a user namespace.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.attack_scene import assert_refused
from tests.integration.test_mounts import Scene, into_user_namespace, scene

__all__ = ["scene"]  # a fixture


@pytest.fixture
def owned(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Return a mount with files of users 0 to 3 and their groups, and another mount below it."""
    path = tmp_path / "owned"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "owned", path], check=True)
    (path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", path / "below"], check=True)
    for place in (path, path / "below"):
        for number in range(4):
            (place / str(number)).touch()
            os.chown(place / str(number), number, number)
    yield path
    subprocess.run(["umount", "--recursive", path], check=True)


def owners(scene: Scene, place: str = "/m") -> list[str]:
    """Return the owners of the four files as the container sees them."""
    return scene.output(f"cd {place}; stat -c %u:%g 0 1 2 3").split()


def ids(inside: int, outside: int, size: int) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": size}


NOBODY = "65534:65534"
# the option; what the files 0 to 3 are seen as in a container without a user namespace
PLAIN = {
    "idmap=uids=0-5-10;gids=0-7-10": ["5:7", "6:8", "7:9", "8:10"],
    "idmap=gids=0-7-10;uids=0-5-10": ["5:7", "6:8", "7:9", "8:10"],
    "idmap=uids=1-30-1#2-8-1;gids=0-5-10": ["65534:5", "30:6", "8:7", "65534:8"],
    "ridmap=uids=0-5-10;gids=0-7-10": ["5:7", "6:8", "7:9", "8:10"],
}
# the same in one whose ids begin at 100000; `@`: ids of the container
NAMESPACED = {
    "idmap": ["0:0", "1:1", "2:2", "3:3"],
    "ridmap": ["0:0", "1:1", "2:2", "3:3"],
    "idmap=uids=0-100005-10;gids=0-100007-10": ["5:7", "6:8", "7:9", "8:10"],
    "idmap=uids=@0-5-10#@10-30-1;gids=0-100007-10": ["5:7", "6:8", "7:9", "8:10"],
    "idmap=uids=@0-5-1#@1-9-9;gids=@0-7-10": ["5:7", "9:8", "10:9", "11:10"],
    "idmap=uids=@0-5-1#1-9-9;gids=@0-7-10": ["5:7", "65534:8", "65534:9", "65534:10"],
}


@pytest.mark.parametrize("option", PLAIN)
def test_mapping_of_the_option(scene: Scene, owned: pathlib.Path, option: str) -> None:
    scene.mount("/m", ["rbind", option], type="bind", source=str(owned))
    assert owners(scene) == PLAIN[option]


@pytest.mark.parametrize("option", NAMESPACED)
def test_mapping_in_a_user_namespace(scene: Scene, owned: pathlib.Path, option: str) -> None:
    into_user_namespace(scene)
    scene.mount("/m", ["rbind", option], type="bind", source=str(owned))
    assert owners(scene) == NAMESPACED[option]


@pytest.mark.parametrize(("option", "below"), [("idmap", "0:0"), ("ridmap", "5:7")])
def test_what_is_mounted_below(scene: Scene, owned: pathlib.Path, option: str, below: str) -> None:
    scene.mount("/m", ["rbind", f"{option}=uids=0-5-10;gids=0-7-10"], type="bind", source=str(owned))
    assert (owners(scene)[0], owners(scene, "/m/below")[0]) == ("5:7", below)


def test_a_range_that_lies_apart_on_the_host(scene: Scene, owned: pathlib.Path, runtime: str) -> None:
    if os.path.basename(runtime) == "crun":
        pytest.skip("crun looks at the first id of a range alone")
    into_user_namespace(scene)
    linux = scene.bundle.config["linux"]
    linux["uidMappings"] = [ids(0, 100000, 2), ids(2, 300000, 10)]
    scene.mount("/m", ["bind", "idmap=uids=@0-0-4;gids=@0-0-4"], type="bind", source=str(owned))
    assert owners(scene) == ["0:0", "1:1", "2:2", "3:3"]


@pytest.mark.parametrize("options", [["bind"], ["bind", "idmap"], ["bind", "idmap=uids=0-50-9;gids=0-50-9"]])
@pytest.mark.parametrize("user", [True, False])
def test_mappings_of_the_mount_win(
    scene: Scene, owned: pathlib.Path, options: list[str], user: bool, runtime: str
) -> None:
    if os.path.basename(runtime) == "crun" and (len(options) == 1 or "=" in options[1]):
        pytest.skip("crun 1.21 wants `idmap` as well, and lets the option's mapping win")
    base = 100_000 if user else 0
    if user:
        into_user_namespace(scene)
    maps = {"uidMappings": [ids(0, base + 5, 10)], "gidMappings": [ids(0, base + 7, 10)]}
    scene.mount("/m", options, type="bind", source=str(owned), **maps)
    assert owners(scene) == ["5:7", "6:8", "7:9", "8:10"]


def test_namespace_that_is_joined(scene: Scene, owned: pathlib.Path) -> None:
    into_user_namespace(scene)
    holder = subprocess.Popen(["unshare", "--user", "sleep", "60"])
    try:
        path = pathlib.Path(f"/proc/{holder.pid}")
        mine = os.readlink("/proc/self/ns/user")
        while os.readlink(path / "ns/user") == mine:
            assert holder.poll() is None
        for name in ("uid_map", "gid_map"):
            (path / name).write_text("0 100000 65536\n")
        linux = scene.bundle.config["linux"]
        linux["namespaces"][-1]["path"] = str(path / "ns/user")
        del linux["uidMappings"], linux["gidMappings"]
        scene.mount("/m", ["bind", "idmap"], type="bind", source=str(owned))
        assert owners(scene) == ["0:0", "1:1", "2:2", "3:3"]
    finally:
        holder.kill()
        holder.wait()


def test_mapped_filesystem(scene: Scene) -> None:
    scene.mount("/m", ["idmap=uids=0-5-10;gids=0-7-10", "mode=750"], type="tmpfs", source="t")
    assert scene.output("stat -c '%u:%g %a' /m").strip() == "5:7 750"


def test_what_is_written_belongs_to_whom_it_should(scene: Scene, owned: pathlib.Path) -> None:
    (owned / "below").chmod(0o777)
    owned.chmod(0o777)
    into_user_namespace(scene)
    scene.mount("/m", ["bind", "idmap"], type="bind", source=str(owned))
    scene.output("touch /m/new")
    assert (owned / "new").stat().st_uid == 0


def test_many_mappings(scene: Scene, owned: pathlib.Path) -> None:
    for number in range(20):
        option = f"idmap=uids=0-{number % 7}-10;gids=0-{number % 7}-10"  # some of them twice: one namespace for both
        scene.mount(f"/m{number}", ["bind", option], type="bind", source=str(owned))
    found = scene.output("for n in $(seq 0 19); do stat -c %u:%g /m$n/0; done").split()
    assert found == [f"{number % 7}:{number % 7}" for number in range(20)]


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no mapping at all": ("idmap", {}, "mappings"),
    "no mapping below": ("ridmap", {}, "mappings"),
    "groups missing": ("idmap=uids=0-5-10", {}, "uids and gids"),
    "an unknown kind": ("idmap=uids=0-5-10;gids=0-5-10;foo=1-2-3", {}, "foo"),
    "two numbers": ("idmap=uids=0-5;gids=0-5-10", {}, "0-5"),
    "a sign": ("idmap=uids=0--5-1;gids=0-5-10", {}, "0--5-1"),
    "no digits": ("idmap=uids=0-x-1;gids=0-5-10", {}, "0-x-1"),
    "foreign digits": ("idmap=uids=0-５-1;gids=0-5-10", {}, "config.json"),
    "nothing of it": ("idmap=uids=0-5-0;gids=0-5-10", {}, "0-5-0"),
    "too far": ("idmap=uids=0-4294967295-2;gids=0-5-10", {}, "4294967295"),
    "relative to nothing": ("idmap=uids=@0-5-10;gids=@0-7-10", {}, "no id 5"),
    "a line break": ("idmap=uids=0-5-1\n1-6-1;gids=0-5-10", {}, "config.json"),
    "one kind of the mount's": ("idmap", {"uidMappings": [ids(0, 5, 1)]}, "gidMappings"),
    "overlapping": ("idmap=uids=0-5-2#1-9-2;gids=0-5-10", {}, "Invalid argument"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(scene: Scene, owned: pathlib.Path, what: str, runtime: str) -> None:
    """By name, in one line, and nothing is left of it."""
    option, entry, words = REFUSED[what]
    done = scene.mount("/m", ["bind", option], type="bind", source=str(owned), **entry).tell("true")
    assert_refused(done, *([] if os.path.basename(runtime) == "crun" else [words]))


# -- what else a user namespace may not do as the host may


@pytest.mark.parametrize("host", ["network", "cgroup"])
def test_what_a_user_namespace_may_not_mount_is_bound(scene: Scene, host: str) -> None:
    into_user_namespace(scene)
    linux = scene.bundle.config["linux"]
    linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] != host]
    mounts = scene.seen()
    place, kind = {"network": ("/sys", "sysfs"), "cgroup": ("/sys/fs/cgroup", "cgroup2")}[host]
    assert mounts[place].kind == kind
    assert "ro" in mounts[place].options
    # what lies below is no freer, but for what the config itself mounts there
    free = {name for name, mount in mounts.items() if name.startswith(f"{place}/") and "ro" not in mount.options}
    assert free - {"/sys/fs/cgroup"} == set()


def test_devices_of_a_user_namespace(scene: Scene) -> None:
    into_user_namespace(scene)
    scene.bundle.config["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
    text = scene.output("stat -c '%n %t:%T' /dev/null /dev/tty /dev/fuse; echo x >/dev/null")
    assert text.split("\n")[:3] == ["/dev/null 1:3", "/dev/tty 5:0", "/dev/fuse a:e5"]


def test_a_device_that_the_host_has_otherwise(scene: Scene) -> None:
    into_user_namespace(scene)
    scene.bundle.config["linux"]["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 5}]
    assert_refused(scene.tell("true"), "/dev/null")


@pytest.mark.parametrize(("uid", "gid"), [(1000, 1000), (0, 1000), (1000, 0)])
def test_a_user_namespace_without_root(scene: Scene, uid: int, gid: int, runtime: str) -> None:
    """Its init makes what is mounted as somebody whom it maps. Red as root of it: EOVERFLOW."""
    into_user_namespace(scene)
    linux = scene.bundle.config["linux"]
    linux["uidMappings"], linux["gidMappings"] = [ids(uid, 100000, 1)], [ids(gid, 100000, 1)]
    scene.bundle.config["process"]["user"] = {"uid": uid, "gid": gid}
    if os.path.basename(runtime) == "crun":  # it takes a `gid=5` away from users without privileges alone
        [terminals] = [mount for mount in scene.bundle.config["mounts"] if mount["type"] == "devpts"]
        terminals["options"].remove("gid=5")
    scene.mount("/t", ["mode=755"], type="tmpfs", source="t")
    said = scene.output("stat -c %u:%g /dev /t; echo x >/t/x; stat -c %u:%g /t/x; ls -d /dev/pts/ptmx")
    own = f"{uid}:{gid}"
    assert said.split() == [own, own, own, "/dev/pts/ptmx"]

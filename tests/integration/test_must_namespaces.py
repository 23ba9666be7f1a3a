"""The MUSTs of config-linux.md on namespaces and mappings, seen in /proc/self/ns of the container's program."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest

from tests.integration.conftest import Container
from tests.integration.must_scene import add_namespace, crun_does_not, drop_namespace, elsewhere, user_namespace
from tests.unit.bad_configs import without

# The type in a config, its name in /proc/PID/ns, the option of unshare(1).
KINDS = {
    "network": ("net", "--net"),
    "ipc": ("ipc", "--ipc"),
    "uts": ("uts", "--uts"),
    "cgroup": ("cgroup", "--cgroup"),
    "pid": ("pid", "--pid"),
    "mount": ("mnt", "--mount"),
    "time": ("time", "--time"),
}
LINK = "readlink /proc/self/ns/"
CRUN_LEAVES_IT = crun_does_not("leaves a cgroup behind")


def own(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{KINDS[kind][0]}")


REFUSED: list[list[dict[str, Any]]] = [
    [{}],
    [{"path": "/proc/self/ns/net"}],
    [{"type": ""}],
    [{"type": "net"}],
    [{"type": "PID"}],
]


@CRUN_LEAVES_IT
@pytest.mark.parametrize("entries", REFUSED, ids=str)
def test_must_NS1(container: Container, entries: list[dict[str, Any]]) -> None:
    """A namespace has a type, one of those that there are."""
    container.config["linux"]["namespaces"] += entries
    container.refused("linux.namespaces.6")


@CRUN_LEAVES_IT
@pytest.mark.parametrize("kind", ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"])
@pytest.mark.parametrize("path", [None, "/proc/1/ns/"], ids=["new", "path"])
def test_must_NS1_duplicate(container: Container, kind: str, path: str | None) -> None:
    """Each type is there at most once."""
    if kind == "user":
        user_namespace(container.bundle)
    else:
        add_namespace(container.bundle, kind)
    second = {"type": kind} if path is None else {"type": kind, "path": path + KINDS.get(kind, (kind,))[0]}
    container.config["linux"]["namespaces"].append(second)
    container.refused("linux.namespaces")


NO_TIME = pytest.param("time", marks=crun_does_not("dies of a time namespace with a path"))


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", NO_TIME])
def test_must_NS2(container: Container, kind: str) -> None:
    """The process is placed in the namespace of a path."""
    name, option = KINDS[kind]
    if kind == "uts":
        del container.config["hostname"]
    with elsewhere(option, *(["--fork"] if kind == "time" else [])) as pid:
        # the namespace that unshare(1) makes for its children, when it is one of time
        path = f"/proc/{pid}/ns/{name}{'_for_children' if kind == 'time' else ''}"
        add_namespace(container.bundle, kind, path)
        assert container.says(LINK + name) == os.readlink(path) != own(kind)


def test_must_NS2_pid(container: Container) -> None:
    with elsewhere("--pid", "--fork", "--kill-child") as pid:
        path = f"/proc/{pid}/ns/pid_for_children"
        add_namespace(container.bundle, "pid", path)
        assert container.says(LINK + "pid") == os.readlink(path)


@pytest.mark.parametrize("path", ["net", "self/ns/net", "proc/self/ns/net"])
@crun_does_not("takes it as relative to where it runs, and leaves a cgroup behind")
def test_must_NS2_absolute(container: Container, path: str) -> None:
    add_namespace(container.bundle, "network", path)
    container.refused("linux.namespaces.5.path")


WRONG = [
    ("network", "/proc/1/ns/uts"),
    ("ipc", "/proc/1/ns/net"),
    ("uts", "/proc/1/ns/ipc"),
    ("cgroup", "/proc/1/ns/net"),
    ("pid", "/proc/1/ns/net"),
    ("mount", "/proc/1/ns/net"),
    ("network", "/etc/passwd"),
    ("network", "/dev/null"),
    ("network", "/etc"),
    ("network", "/no/such/namespace"),
    ("time", "/proc/1/ns/net"),
]


@CRUN_LEAVES_IT
@pytest.mark.parametrize(("kind", "path"), WRONG, ids=str)
def test_must_NS3(container: Container, kind: str, path: str) -> None:
    """A path that is no namespace of that type is an error."""
    add_namespace(container.bundle, kind, path)
    container.refused(path)


@pytest.mark.parametrize("kind", KINDS)
def test_must_NS4(container: Container, kind: str) -> None:
    """Without a path the namespace is a new one."""
    add_namespace(container.bundle, kind)
    assert container.says(LINK + KINDS[kind][0]) != own(kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mount"])
def test_must_NS4_inherited(container: Container, kind: str) -> None:
    """A type that is not listed is that of the runtime."""
    drop_namespace(container.bundle, kind)
    if kind == "uts":
        del container.config["hostname"]
    if kind == "network":
        # a new sysfs is for who owns the network namespace: clients bind the host's
        container.config["mounts"] = [
            mount for mount in container.config["mounts"] if not mount["destination"].startswith("/sys")
        ]
    assert container.says(LINK + KINDS[kind][0]) == own(kind)


MAPPING = {"containerID": 0, "hostID": 100000, "size": 65536}


@pytest.mark.parametrize("ids", ["uid", "gid"])
def test_must_NS5(container: Container, ids: str) -> None:
    """The mappings are those of the user namespace."""
    user_namespace(container.bundle)
    mappings = [MAPPING | {"size": 1000}, {"containerID": 1000, "hostID": 300000, "size": 1}]
    container.config["linux"][f"{ids}Mappings"] = mappings
    rows = [line.split() for line in container.says(f"cat /proc/self/{ids}_map").splitlines()]
    assert rows == [["0", "100000", "1000"], ["1000", "300000", "1"]]


@crun_does_not("takes 0 for what is missing, or leaves a cgroup behind")
@pytest.mark.parametrize("key", ["uidMappings", "gidMappings"])
@pytest.mark.parametrize("member", MAPPING)
def test_must_NS5_required(container: Container, key: str, member: str) -> None:
    user_namespace(container.bundle)
    container.config["linux"][key] = [without(member, **MAPPING)]
    container.refused(f"linux.{key}.0")


def test_must_NS5_whole(container: Container, tmp_path: pathlib.Path) -> None:
    """What is not mapped is nobody's."""
    user_namespace(container.bundle, 100000, 1000)
    container.config["process"]["user"] = {"uid": 999, "gid": 999}
    os.chown(container.bundle.rootfs / "tmp", 101000, 101000)
    assert container.says("id -u; stat -c %u:%g /tmp /root") == "999\n65534:65534\n0:0"

"""The MUSTs of config-linux.md on cgroups."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.integration.conftest import CRUN, Container
from tests.integration.effect_scene import CGROUPS, cgroup_of, rdma_device
from tests.integration.must_scene import crun_does_not
from tests.integration.needs import needs

__all__ = ["rdma_device"]

M = 1 << 20
TOP = CGROUPS / "pyoci-must"
MANAGER = "--cgroup-manager=cgroupfs"


@pytest.fixture
def top() -> Iterator[pathlib.Path]:
    """Return a cgroup of somebody else's, empty."""
    TOP.mkdir()
    yield TOP
    for directory, _, _ in os.walk(TOP, topdown=False):
        with contextlib.suppress(OSError):
            pathlib.Path(directory).rmdir()


def create(container: Container, path: str) -> str:
    """Create it in a cgroup that we name; return what is said if that fails."""
    container.config["linux"]["cgroupsPath"] = path
    container.bundle.args("sleep", "1000")
    return container.run(MANAGER, "create", "--bundle", container.bundle.path, container.name).stderr


def test_must_CG1(top: pathlib.Path, container: Container) -> None:
    """A cgroup in which somebody lives is not fit."""
    (top / "taken").mkdir()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        (top / "taken/cgroup.procs").write_text(str(pid))
        container.config["linux"]["cgroupsPath"] = "/pyoci-must/taken"
        container.bundle.write()
        done = container.run(MANAGER, "create", "--bundle", container.bundle.path, container.name)
        if CRUN:
            return  # it does not look
        assert (done.returncode, done.stderr) == (1, f"pyoci: cgroup `{top}/taken` is in use\n")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@crun_does_not("looks since 1.30, before that it waits for ever")
def test_must_CG1_frozen(top: pathlib.Path, container: Container) -> None:
    """Nor is one in which nobody would ever run."""
    (top / "cold").mkdir()
    (top / "cold/cgroup.freeze").write_text("1")
    assert create(container, "/pyoci-must/cold/inside") == f"pyoci: cgroup `{top}/cold` is frozen\n"


@pytest.mark.parametrize("path", ["/pyoci-must/absolute", "pyoci-must/relative"])
def test_must_CG2(top: pathlib.Path, container: Container, path: str) -> None:
    """Absolute and relative ones are found below the mount of the hierarchy; the same is the same place again."""
    for _ in range(2):
        assert create(container, path) == ""
        assert cgroup_of(container) == CGROUPS / path.lstrip("/") or CRUN  # crun's relative ones are beside its own
        container.delete()


@pytest.mark.parametrize("path", ["/pyoci-must/../../x", "..", "/a/../b", "a:b:c:d/..", "x.slice:"])
def test_must_CG2_invalid(container: Container, path: str) -> None:
    container.config["linux"]["cgroupsPath"] = path
    container.refused("linux.cgroupsPath")


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs"])
def test_must_CG3(container: Container, manager: str) -> None:
    """The files that the kernel lists go to the root of the user namespace, as far as the cgroup has them; no others.

    A machine has files of controllers on its list that the cgroup has not got: no failure.
    """
    linux = container.config["linux"]
    linux["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        linux[kind] = [{"containerID": 0, "hostID": 100_000, "size": 65536}]
    container.bundle.args("sleep", "1000")
    path = container.bundle.path
    for directory in (path, *path.parents[:-2]):  # the container's root goes there
        directory.chmod(0o755)
    container.run(f"--cgroup-manager={manager}", "create", "--bundle", path, container.name, check=True)
    cgroup = cgroup_of(container)
    listed = pathlib.Path("/sys/kernel/cgroup/delegate").read_text().split()
    assert {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} <= {*listed}
    given = {entry.name for entry in cgroup.iterdir() if entry.stat().st_uid == 100_000}
    assert given == {name for name in listed if (cgroup / name).exists()}
    assert (cgroup.stat().st_uid, cgroup.stat().st_gid) == (100_000, 100_000)
    container.delete()


@crun_does_not("takes it")
@needs("memory controller")
def test_must_CG5(container: Container) -> None:
    """With checkBeforeUpdate a limit below what is in use is refused and changes nothing; without it the kernel kills."""
    container.config["linux"]["resources"]["memory"] = {"limit": 64 * M}
    container.create("dd if=/dev/zero of=/dev/shm/x bs=1M count=24 2>/dev/null; exec sleep 1000")
    container.start()
    ready = "while ! ps | grep -q 'sleep 1000'; do sleep 0.1; done"
    container.run("exec", container.name, "sh", "-c", ready, check=True)
    asked = {"memory": {"limit": 16 * M, "checkBeforeUpdate": True}}
    done = container.run("update", "-r", "-", container.name, input=json.dumps(asked))
    assert done.returncode == 1
    assert done.stderr.startswith(f"pyoci: resources.memory.limit: {16 * M} bytes are less than the ")
    assert (cgroup_of(container) / "memory.max").read_text() == f"{64 * M}\n"
    asked["memory"]["limit"] = 32 * M
    container.run("update", "-r", "-", container.name, input=json.dumps(asked), check=True)
    assert (cgroup_of(container) / "memory.max").read_text() == f"{32 * M}\n"
    container.delete()


@crun_does_not("leaves it to the kernel")
def test_must_CG6(container: Container) -> None:
    container.config["linux"]["resources"]["cpu"] = {"quota": 1000, "burst": 1001}
    container.refused("linux.resources", "cpu.burst (1001) is above quota (1000)")


DEVICE = {"major": 7, "minor": 0}
BLOCK_IO = [
    ("weightDevice", [DEVICE]),
    ("weightDevice", [{"major": 7, "weight": 10}]),
    *((f"throttle{way}Device", [entry]) for way in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
      for entry in ({"major": 7, "minor": 0}, {"major": 7, "rate": 1}, {"minor": 0, "rate": 1})),
]  # fmt: skip


def test_must_CG7(container: Container) -> None:
    """A weight of a device has one of its two, a throttle its device and rate."""
    for key, value in BLOCK_IO:
        container.config["linux"]["resources"] = {"blockIO": {key: value}}
        container.refused(f"linux.resources.blockIO.{key}.0")


def test_must_CG8(container: Container) -> None:
    for section, asked in [
        ("hugepageLimits", [{"pageSize": "2MB"}]),
        ("hugepageLimits", [{"limit": 1}]),
        ("network", {"priorities": [{"name": "lo"}]}),
        ("network", {"priorities": [{"priority": 1}]}),
    ]:
        container.config["linux"]["resources"] = {section: asked}
        container.refused(f"linux.resources.{section}")


def test_must_CG9(container: Container) -> None:
    container.config["linux"]["resources"] = {"rdma": {"rxe0": {}}}
    container.refused("linux.resources.rdma")


@crun_does_not("has no rdma")
@needs("rdma controller")
def test_must_CG9_works(container: Container, rdma_device: None) -> None:
    container.config["linux"]["resources"] = {"rdma": {"rxe0": {"hcaObjects": 7}}}
    container.create()
    assert (cgroup_of(container) / "rdma.max").read_text().strip() == "rxe0 hca_handle=max hca_object=7"
    container.delete()


@needs("memory controller")
def test_must_CG10(container: Container) -> None:
    """A file is a file, whether we know it or not; its controller is enabled; what cannot be is an error."""
    container.config["linux"]["resources"] = {"unified": {"memory.swap.high": "4096", "cgroup.max.descendants": "5"}}
    container.create()
    assert (cgroup_of(container) / "memory.swap.high").read_text() == "4096\n"
    assert (cgroup_of(container) / "cgroup.max.descendants").read_text() == "5\n"
    container.delete()


def test_must_CG10_refused(container: Container) -> None:
    for key, words in [
        ("nobody.knows", "unified.nobody.knows: the nobody controller is not available"),
        ("cgroup.nothing", "unified.cgroup.nothing"),
        ("../x", "unified"),
        ("cgroup.procs", "the runtime's own to write"),
    ]:
        container.config["linux"]["resources"] = {"unified": {key: "1"}}
        container.refused("linux.resources.unified", words)
    for section, key in [("memory", "kernel"), ("cpu", "realtimeRuntime"), ("memory", "swappiness")]:
        container.config["linux"]["resources"] = {section: {key: 1}}
        container.refused(f"linux.resources.{section}.{key}")

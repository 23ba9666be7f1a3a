"""The cgroups of a container: where it stands below its scope, what it may divide, and what is left of it."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container
from tests.integration.exec_scene import CGROUPS, cgroup, freeze, settled

ours = pytest.mark.skipif(CRUN, reason="crun follows it out of the scope, or knows no such refusal")
SUBGROUP, DELEGATED = "run.oci.systemd.subgroup", "run.oci.delegate-cgroup"
DELEGATE = pathlib.Path("/sys/kernel/cgroup/delegate")
ROOT = 100_000  # who root of a container is on the host


def divided(container: Container, **annotations: str) -> Container:
    names = {"subgroup": SUBGROUP, "delegated": DELEGATED}
    container.config["annotations"] = {names[name]: value for name, value in annotations.items()}
    return container


def mapped(container: Container) -> Container:
    """Give it a user namespace, a cgroup namespace, and a cgroup mount that can be written to."""
    linux = container.config["linux"]
    kinds = {entry["type"] for entry in linux["namespaces"]} | {"user", "cgroup"}
    linux["namespaces"] = [{"type": kind} for kind in sorted(kinds)]
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": ROOT, "size": 65536}]
    for mount in container.config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"] = ["rw", "nosuid", "noexec", "nodev"]
    subprocess.run(["chown", "-R", f"{ROOT}:{ROOT}", container.bundle.rootfs], check=True, timeout=20)
    for above in (container.bundle.path, *container.bundle.path.parents):
        if above != pathlib.Path("/"):
            above.chmod(above.stat().st_mode | 0o111)
    return container


def start(container: Container, manager: str) -> None:
    container.bundle.sh("exec sleep 1000")
    container.run(manager, "run", "--detach", "--bundle", container.bundle.path, container.name, check=True)


def below_its_scope(container: Container) -> str:
    """Return where its first process is, from the scope on."""
    parts = str(cgroup(container.state()["pid"])).split(".scope", 1)
    return parts[1].lstrip("/")


@pytest.mark.parametrize(("annotations", "place"), [
    ({}, "container"),
    ({"subgroup": "payload"}, "payload"),
    ({"subgroup": "a/b"}, "a/b"),
    ({"subgroup": ""}, ""),
    ({"delegated": "mine"}, "container/mine"),
    ({"subgroup": "a", "delegated": "/b//c/"}, "a/b/c"),
    ({"subgroup": "", "delegated": "mine"}, "mine"),
])  # fmt: skip
def test_below_the_scope(container: Container, annotations: dict[str, str], place: str) -> None:  # F121, F122
    """Frozen, entered, listed and removed wherever it is."""
    divided(container, **annotations)
    start(container, "--systemd-cgroup")
    assert below_its_scope(container) == place
    assert container.state()["status"] == "running"
    container.run("pause", container.name, check=True)
    assert container.state()["status"] == "paused"
    container.run("resume", container.name, check=True)
    inside = container.run("exec", container.name, "cat", "/proc/self/cgroup", check=True).stdout
    assert inside.splitlines()[-1] == "0::/"
    if CRUN and "delegated" in annotations:
        return  # it looks into the cgroup with the limits alone
    assert str(container.state()["pid"]) in container.run("ps", container.name, check=True).stdout.split()
    container.delete()


@ours
@pytest.mark.parametrize("name", ["../x", "a/../../b", ".."])
@pytest.mark.parametrize("what", ["subgroup", "delegated"])
def test_nobody_leaves_the_scope(container: Container, what: str, name: str) -> None:
    divided(container, **{what: name}).refused("must not hold `..`")


# -- what is the container's to divide


@pytest.mark.parametrize(("manager", "annotations", "place"), [
    ("systemd", {}, "container"),
    ("systemd", {"delegated": "mine"}, "container/mine"),
    ("cgroupfs", {}, None),
    ("cgroupfs", {"delegated": "mine"}, "mine"),
])  # fmt: skip
def test_root_of_a_container_divides_its_cgroup(
    container: Container, manager: str, annotations: dict[str, str], place: str | None
) -> None:  # F244
    """It makes a cgroup and moves into it; the limits of its own are somebody else's."""
    mapped(divided(container, **annotations))
    start(container, f"--cgroup-manager={manager}")
    where = cgroup(container.state()["pid"])
    if place:
        assert str(where).endswith(place)

    def inside(script: str) -> subprocess.CompletedProcess[str]:
        return container.run("exec", container.name, "sh", "-c", f"cd /sys/fs/cgroup; {script}")

    moved = inside("mkdir mine-too && echo 0 > mine-too/cgroup.procs && cat /proc/self/cgroup")
    assert (moved.returncode, moved.stdout.splitlines()[-1:]) == (0, ["0::/mine-too"]), moved
    for limit in ("cgroup.max.depth", "cgroup.freeze", "cgroup.max.descendants"):
        refused = inside(f"cat {limit} && echo 1 > {limit}")
        assert refused.returncode != 0 and "ermission denied" in refused.stderr, (limit, refused)
    theirs = {path.name for path in where.iterdir() if path.is_file() and path.stat().st_uid == ROOT}
    listed = set(DELEGATE.read_text().split())
    assert theirs == {name for name in listed if (where / name).exists()}
    assert (where.stat().st_uid, where.stat().st_gid) == (ROOT, ROOT)
    if "delegated" in annotations and not CRUN:
        # with the limits: crun gives it away, too
        assert where.parent.stat().st_uid == 0
    container.delete()
    assert not where.exists()


def test_without_a_user_namespace_nothing_changes_hands(container: Container) -> None:
    divided(container, delegated="mine").create()
    where = cgroup(container.state()["pid"])
    assert {path.stat().st_uid for path in (where, where.parent, where / "cgroup.procs")} == {0}
    container.delete()


# -- frozen before we came


@pytest.fixture
def frozen_slice() -> Iterator[str]:
    """Return a slice that systemd has frozen."""
    unit = "pyocifrozen.slice"
    subprocess.run(["systemctl", "start", unit], check=True, timeout=20)
    subprocess.run(["systemctl", "freeze", unit], check=True, timeout=20)
    yield unit
    subprocess.run(["systemctl", "thaw", unit], check=True, timeout=20)
    subprocess.run(["systemctl", "stop", unit], check=True, timeout=20)


@ours  # crun waits for ever
def test_a_frozen_slice_takes_nobody(container: Container, frozen_slice: str) -> None:  # CG1, R20
    container.config["linux"]["cgroupsPath"] = f"{frozen_slice}:pyoci:{container.name}"
    said = container.refused("frozen")
    assert len(said.splitlines()) == 1


@ours
@pytest.mark.parametrize("where", ["", "a/b"])
def test_a_frozen_cgroup_takes_nobody(container: Container, where: str) -> None:  # CG1, R20
    top = CGROUPS / "pyoci-frozen"
    top.mkdir()
    try:
        freeze(top, True)
        container.config["linux"]["cgroupsPath"] = f"/pyoci-frozen/{where}"
        container.refused("cgroup `/sys/fs/cgroup/pyoci-frozen` is frozen")
        assert [path.name for path in top.iterdir() if path.is_dir()] == []
    finally:
        top.rmdir()


# -- slices


@pytest.fixture
def slices() -> Iterator[None]:
    """Stop the slices that systemd makes on the way to a scope: they stay as long as they could be of use."""
    yield
    subprocess.run(["systemctl", "stop", "pyocia.slice"], check=True, timeout=20)


@pytest.mark.parametrize(("parent", "path"), [
    ("pyocia-b.slice", "pyocia.slice/pyocia-b.slice/"),
    ("-.slice", ""),
    (r"pyocia\x2db.slice", r"pyocia\x2db.slice/"),
])  # fmt: skip
def test_nested_slices(container: Container, slices: None, parent: str, path: str) -> None:
    container.config["linux"]["cgroupsPath"] = f"{parent}:pre:{container.name}"
    start(container, "--systemd-cgroup")
    scope = f"pre-{container.name}.scope"
    assert cgroup(container.state()["pid"]) == CGROUPS / f"{path}{scope}/container"
    container.delete()
    assert settled(lambda: not (CGROUPS / f"{path}{scope}").exists())
    if "x2d" in parent:
        subprocess.run(["systemctl", "stop", parent], check=True, timeout=20)


@ours
@pytest.mark.parametrize("parent", ["a--b.slice", "-a.slice", "a.service", "a/b.slice", "a"])
def test_no_slice(container: Container, parent: str) -> None:
    container.config["linux"]["cgroupsPath"] = f"{parent}:pre:{container.name}"
    container.refused("linux.cgroupsPath")


@ours
def test_no_container_is_a_slice(container: Container) -> None:
    """systemd gives a slice no processes, and the refusal says so."""
    container.config["linux"]["cgroupsPath"] = f"system.slice:pre:{container.name}.slice"
    container.refused("is the name of a slice, and these hold no processes")
    sleeper = subprocess.Popen(["sleep", "100"])
    words = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    how = ["StartTransientUnit", "ssa(sv)a(sa(sv))", "pyocitest.slice", "fail", "1", "PIDs", "au", "1"]
    call: list[Any] = ["busctl", "call", *words, *how, str(sleeper.pid), "0"]
    try:
        asked = subprocess.run(call, capture_output=True, text=True, timeout=20)
        assert "Cannot set property PIDs" in asked.stderr
    finally:
        sleeper.kill()
        sleeper.wait()

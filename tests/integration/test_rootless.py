"""Containers of a user without privileges: the verbs, the user's systemd, what she may not do, and how she is told."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container
from tests.integration.needs import needs
from tests.integration.rootless_scene import User, alice, bob, hers, his

__all__ = ["alice", "bob", "hers", "his"]

ours = pytest.mark.skipif(CRUN, reason="crun has other words")
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def mapped(container: Container, kind: str = "uid") -> list[list[int]]:
    """Return what the container says of its ids."""
    return [[int(word) for word in line.split()] for line in container.says(f"cat /proc/self/{kind}_map").splitlines()]


def cgroup_of(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1].removeprefix("0::")


# -- the verbs


def test_from_create_to_delete(alice: User, hers: Container, wait_until: Callable[..., Any]) -> None:
    hers.create("echo up; exec sleep 1000")
    assert hers.state()["status"] == "created"
    hers.start()
    state = hers.state()
    assert state["status"] == "running"
    # crun's fails from a login session: it may not write to the scope's cgroup.procs
    assert alice.run("exec", hers.name, "id", "-u", check=True, inside=CRUN).stdout == "0\n"
    assert CRUN or alice.run("exec", "--tty", hers.name, "tty", check=True).stdout.strip() == "/dev/pts/0"
    assert json.loads(alice.run("ps", "--format=json", hers.name, check=True).stdout) == [state["pid"]]
    [listed] = json.loads(alice.run("list", "--format=json", check=True).stdout)
    assert (listed["id"], listed["status"], listed["owner"]) == (hers.name, "running", "alice")
    alice.run("kill", hers.name, "KILL", check=True)
    wait_until(lambda: hers.state()["status"] == "stopped", "its end")
    alice.run("delete", hers.name, check=True)


def test_run_gives_the_exit_status(alice: User, hers: Container) -> None:
    hers.bundle.sh("exit 7")
    assert alice.run("run", "--bundle", hers.bundle.path, hers.name).returncode == 7


def test_pause_and_resume(alice: User, hers: Container) -> None:
    hers.create()
    hers.start()
    frozen = ["show", "--value", "--property=FreezerState", f"pyoci-{hers.name}.scope"]
    alice.run("pause", hers.name, check=True)
    assert hers.state()["status"] == "paused"
    assert CRUN or alice.systemctl(*frozen) == "frozen\n"  # D18
    alice.run("resume", hers.name, check=True)
    assert hers.state()["status"] == "running"
    assert CRUN or alice.systemctl(*frozen) == "running\n"


@ours
def test_it_is_a_scope_of_her_systemd(alice: User, hers: Container) -> None:
    hers.create()
    hers.start()
    unit = f"pyoci-{hers.name}.scope"
    shown = alice.systemctl("status", "--lines=0", unit)
    assert f"{unit} - container {hers.name}: sh" in shown
    assert "Active: active (running)" in shown
    assert f"user@{alice.uid}.service/app.slice/{unit}" in shown
    system = subprocess.run(
        ["systemctl", "show", "--value", "--property=LoadState", unit], capture_output=True, text=True
    )
    assert system.stdout == "not-found\n", "the machine's systemd knows it"


@ours
def test_her_systemd_stops_it(alice: User, hers: Container, wait_until: Callable[..., Any]) -> None:
    hers.create("trap 'exit 0' TERM; while :; do sleep 0.1; done")
    hers.start()
    alice.systemctl("stop", f"pyoci-{hers.name}.scope")
    wait_until(lambda: hers.state()["status"] == "stopped", "its end")
    hers.delete()


@pytest.mark.parametrize("inside", [False, True])
def test_who_joins_is_in_the_container_s_cgroup(
    inside: bool, alice: User, hers: Container, wait_until: Callable[..., Any]
) -> None:
    """From a login session too: there her systemd has to ask the machine's for it (W16)."""
    if CRUN and not inside:
        pytest.skip("crun fails: it may not write to the scope's cgroup.procs")
    hers.create()
    hers.start()
    alice.run("exec", "--detach", hers.name, "sleep", "999", check=True, inside=inside)

    def joined() -> list[int]:
        listed = json.loads(alice.run("ps", "--format=json", hers.name, check=True).stdout)
        return [pid for pid in listed if pid != hers.state()["pid"]]

    [pid] = wait_until(joined, "the second process")
    assert cgroup_of(pid) == cgroup_of(hers.state()["pid"])
    assert f"/user@{alice.uid}.service/" in cgroup_of(pid)


@ours
def test_who_joins_the_process_of_another_id(alice: User, hers: Container) -> None:
    """Root in there is an id of /etc/subuid, whose processes her systemd may not move."""
    hers.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    del hers.config["linux"]["uidMappings"], hers.config["linux"]["gidMappings"]
    hers.create()
    hers.start()
    said = alice.run("exec", hers.name, "sh", "-c", "id -u; cat /proc/self/cgroup | tail -n 1", check=True).stdout
    assert said == "1000\n0::/\n"


@ours
def test_nobody_enters_who_waits(alice: User, hers: Container) -> None:
    """An init has not given up its rights yet: not even its user looks into it (CVE-2016-9962)."""
    hers.create()
    pid = hers.state()["pid"]
    done = alice.run("exec", hers.name, "true")
    assert done.stderr == f"pyoci: the namespaces of process {pid}: Permission denied\n"
    assert alice.does("cat", f"/proc/{pid}/environ").returncode != 0


def test_a_failure_leaves_nothing(alice: User, hers: Container) -> None:
    hers.bundle.args("nothing-of-this-name")
    done = alice.run("run", "--bundle", hers.bundle.path, hers.name)
    assert done.returncode != 0
    assert "nothing-of-this-name" in done.stderr


@ours
def test_hooks(alice: User, hers: Container) -> None:
    said = alice.home / "said"
    kinds = ("createRuntime", "createContainer", "poststart", "poststop")
    hers.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} $(id -u) >>{said}"]}] for kind in kinds
    }
    hers.says("true")
    lines = [line.split() for line in said.read_text().splitlines()]
    said.unlink()
    assert [kind for kind, _ in lines] == [*kinds]
    assert dict(lines)["createContainer"] == "0", "in the container's user namespace she is root"
    assert dict(lines)["poststop"] == str(alice.uid)


# -- ids


def test_her_own_id_is_root_inside(alice: User, hers: Container) -> None:
    assert mapped(hers) == [[0, alice.uid, 1]]
    assert hers.says("cat /proc/self/setgroups") == "deny"


def test_ids_of_subuid(alice: User, hers: Container) -> None:  # F186
    for kind in ("uid", "gid"):
        first = int(subordinate(alice, kind)[0])
        hers.config["linux"][f"{kind}Mappings"] += [{"containerID": 1, "hostID": first, "size": 100}]
        assert kind == "uid" or mapped(hers, kind)[1] == [1, first, 100]
    hers.config["process"]["user"]["additionalGids"] = [5, 20]
    assert hers.says("id -G") == "0 5 20"


def subordinate(user: User, kind: str) -> list[str]:
    listed = pathlib.Path(f"/etc/sub{kind}").read_text().splitlines()
    return next(line.split(":")[1:] for line in listed if line.startswith(f"{user.name}:"))


# 33: crun's fails, for systemd takes no process from a login session that is not its user's by then
@pytest.mark.parametrize("inside", [0, pytest.param(33, marks=ours)])
def test_a_user_namespace_unasked(inside: int, alice: User, hers: Container) -> None:  # F187
    """A config that was written for root; the process has her id, whatever it is called inside."""
    first, count = (int(word) for word in subordinate(alice, "uid"))
    linux = hers.config["linux"]
    linux["namespaces"] = [{"type": kind} for kind in ("mount", "pid", "network", "ipc", "uts", "cgroup")]
    del linux["uidMappings"], linux["gidMappings"]
    hers.config["process"]["user"] = {"uid": inside, "gid": inside}
    below = [[0, first, inside]] if inside else []
    assert mapped(hers) == [*below, [inside, alice.uid, 1], [inside + 1, first + inside, count - inside]]
    assert hers.says("id -u") == str(inside)


def test_a_user_namespace_unasked_of_one_id(bob: User, his: Container) -> None:
    linux = his.config["linux"]
    linux["namespaces"] = [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "cgroup")]
    del linux["uidMappings"], linux["gidMappings"]
    assert mapped(his) == [[0, bob.uid, 1]]


def test_what_a_group_is_denied_stays_so(bob: User, his: Container) -> None:
    """By giving up his group he would be one of the others (CVE-2014-8989, CVE-2018-7169)."""
    denied = bob.home / "not-for-games"
    denied.write_text("open")
    denied.chmod(0o604)
    subprocess.run(["chown", "root:games", denied], check=True)
    assert bob.does("cat", denied).returncode != 0
    his.config["mounts"] += [{"destination": "/denied", "type": "bind", "source": str(denied), "options": ["bind"]}]
    assert his.says("cat /denied 2>&1 || true") == "cat: can't open '/denied': Permission denied"
    assert "65534" in his.says("grep Groups /proc/self/status"), "he has left the group"


@ours
def test_no_groups_where_none_can_be(his: Container) -> None:
    his.config["process"]["user"]["additionalGids"] = [60]
    his.refused("process.user.additionalGids", "one group")


# -- mounts


@pytest.mark.parametrize("kind", ["cgroup", "rbind"])
def test_the_host_s_cgroups_are_read_only(kind: str, hers: Container) -> None:  # CVE-2023-25809
    hers.config["linux"]["namespaces"] = [
        space for space in hers.config["linux"]["namespaces"] if space["type"] != "cgroup"
    ]
    if kind == "rbind":
        if CRUN:
            pytest.skip("crun leaves it writable where /sys is bound with all below it")
        hers.config["mounts"] = [mount for mount in hers.config["mounts"] if mount["type"] != "cgroup"]
    place = hers.says("echo /sys/fs/cgroup$(tail -n 1 /proc/self/cgroup | cut -d: -f3)")
    assert f"/user@{hers.bundle.path.stat().st_uid}.service/" in place
    assert "Read-only file system" in hers.says(f"mkdir {place.rpartition('/')[0]}/x 2>&1 || true")


def test_sys_of_an_own_network(hers: Container) -> None:  # F166
    if {"type": "network"} not in hers.config["linux"]["namespaces"]:
        hers.config["linux"]["namespaces"] += [{"type": "network"}]
    for mount in hers.config["mounts"]:
        if mount["destination"] == "/sys":
            mount |= {"type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
    assert hers.says("ls /sys/class/net").split() == ["lo"]


def test_sys_of_the_host_s_network(hers: Container) -> None:  # F166
    for mount in hers.config["mounts"]:
        if mount["destination"] == "/sys":
            mount |= {"type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
    assert hers.says("ls -d /sys/class/net") == "/sys/class/net"
    assert "Read-only" in hers.says("mkdir /sys/fs/cgroup/x 2>&1 || true")


@pytest.fixture
def locked(alice: User, request: pytest.FixtureRequest) -> Iterator[pathlib.Path]:
    """Return a mount of the machine's with flags that no user can change."""
    place = alice.home / "locked"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "locked", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)
    place.rmdir()


NOT_HAD = "rw,relatime" if CRUN else ""  # runc refuses it, and crun where the mount is `nosuid`, say
# options of the machine's mount, those that are asked for, and what there is then; "" where it is refused
LOCKED = [
    ("ro,noatime", "rbind,rw,relatime,nosuid", "ro,noatime" if CRUN else "ro,nosuid,noatime"),  # crun forgets it
    ("ro,relatime", "bind,rw,nosuid,nodev,noexec", "ro,relatime" if CRUN else "ro,nosuid,nodev,noexec,relatime"),
    ("nosuid,nodev,noexec", "bind,suid,dev,exec,rw", "rw,nosuid,nodev,noexec,relatime"),
    ("nosuid,nodev,noexec", "bind,exec,ro", "ro,nosuid,nodev,noexec,relatime"),
    ("nodiratime", "bind,diratime,nodev", "rw,nodev,nodiratime,relatime"),
    ("noatime", "bind,noatime,noexec", "rw,noexec,noatime"),
    ("relatime", "bind,noatime", NOT_HAD),
    ("relatime", "bind,rw,strictatime", NOT_HAD),
    ("relatime", "bind,nodiratime", NOT_HAD),
]


@pytest.mark.parametrize(("locked", "asked", "found"), LOCKED, indirect=["locked"])
def test_what_is_locked_stays_as_it_is(locked: pathlib.Path, asked: str, found: str, hers: Container) -> None:
    """Clients say `rw` of every mount. What is asked for besides is had, or refused, as runc does.

    Red with attributes to be set among those that a second try leaves out, and with others than `rw` not among them.
    """
    hers.config["mounts"] += [
        {"destination": "/data", "type": "bind", "source": str(locked), "options": asked.split(",")}
    ]
    if found:
        assert hers.says("grep ' /data ' /proc/self/mountinfo").split()[5] == found
    else:
        assert "Operation not permitted" in hers.refused(f"bind `{locked}` to `/data`")


def test_devices_are_the_host_s(hers: Container) -> None:
    assert hers.says("echo x >/dev/null && head -c 3 /dev/zero | wc -c") == "3"
    assert hers.says("stat -c '%t:%T %u' /dev/null") == "1:3 65534"


# -- what she may not do


def test_an_oom_score(alice: User, hers: Container) -> None:
    hers.config["process"]["oomScoreAdj"] = 500
    assert hers.says("cat /proc/self/oom_score_adj") == "500"
    hers.config["process"]["oomScoreAdj"] = -500
    assert "Permission denied" in hers.refused()


def test_a_limit_above_hers(hers: Container) -> None:
    hers.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 20, "hard": 1 << 20}]
    assert "Operation not permitted" in hers.refused("RLIMIT_NOFILE")


@ours
def test_devices_are_not_restricted_and_that_is_said(alice: User, hers: Container) -> None:
    hers.config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    hers.bundle.write()
    said = alice.run("--log-level=warning", "run", "--bundle", hers.bundle.path, hers.name, check=True).stderr
    assert said.count("linux.resources.devices: nothing restricts devices here") == 1


@ours
def test_ids_that_are_not_hers(hers: Container) -> None:
    hers.config["linux"]["uidMappings"] += [{"containerID": 1, "hostID": 7, "size": 1}]
    said = hers.refused("newuidmap: cannot map `0 ", "1 7 1`: ")
    assert "not allowed" in said


@pytest.fixture
def no_helper() -> Iterator[None]:
    """Take newuidmap away."""
    path = pathlib.Path("/usr/bin/newuidmap")
    path.rename("/usr/bin/newuidmap.away")
    yield
    pathlib.Path("/usr/bin/newuidmap.away").rename(path)


@ours
@pytest.mark.usefixtures("no_helper")
def test_no_newuidmap(alice: User, hers: Container) -> None:
    hers.config["linux"]["uidMappings"] += [{"containerID": 1, "hostID": int(subordinate(alice, "uid")[0]), "size": 9}]
    hers.refused("`newuidmap` is not installed")


# -- limits


def test_no_cgroup_where_none_was_asked_for(alice: User, hers: Container) -> None:  # F246
    """By the manager of cgroups that are nobody's but root's."""
    run = ["--cgroup-manager=cgroupfs", "run", "--bundle", str(hers.bundle.sh("echo up").path), hers.name]
    assert alice.does(alice.runtime, *run, check=True).stdout == "up\n"
    hers.config["linux"]["cgroupsPath"] = "/hers"
    hers.bundle.write()
    done = alice.does(alice.runtime, *run)
    assert done.returncode != 0
    assert CRUN or done.stderr == "pyoci: cannot make the cgroup `/sys/fs/cgroup/hers`: Permission denied\n"


@ours
def test_a_limit_of_no_controller(hers: Container) -> None:
    if "io" in (CGROUPS / f"user.slice/user-{hers.bundle.path.stat().st_uid}.slice/cgroup.controllers").read_text():
        pytest.skip("everything is delegated here")
    hers.config["linux"]["resources"] = {"blockIO": {"weight": 100}}
    hers.refused("linux.resources.blockIO.weight: the io controller is not available in `")


@needs("memory controller", "pids controller")
def test_limits_that_are_delegated(alice: User, hers: Container) -> None:
    hers.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}}
    hers.create()
    hers.start()
    below = CGROUPS / cgroup_of(hers.state()["pid"]).lstrip("/")
    assert (below / "memory.max").read_text() == f"{64 << 20}\n"
    alice.run("update", "--memory=128m", "--pids-limit=40", hers.name, check=True)
    assert (below / "memory.max").read_text() == f"{128 << 20}\n"
    assert (below / "pids.max").read_text() == "40\n"
    assert (below.parent / "memory.max").read_text() == f"{128 << 20}\n"
    shown = alice.systemctl("show", "--property=MemoryMax,TasksMax", below.parent.name)
    assert {*shown.split()} == {f"MemoryMax={128 << 20}", "TasksMax=40"}

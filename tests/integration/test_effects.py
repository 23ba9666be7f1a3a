"""What limits do: seen by the program that runs into them, and in what the kernel counts of it.

Times are those of the machine's own clock, so a virtual machine that runs slowly is right about them.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Container, Run
from tests.integration.effect_scene import cgroup_of, device, do, huge_pages, null_disk, scope_of, swap
from tests.integration.needs import needs

__all__ = ["huge_pages", "null_disk", "swap"]

M = 1 << 20
DISK = "/dev/disk"
Wait = Callable[..., Any]


def limited(container: Container, **resources: Any) -> None:
    container.config["linux"]["resources"].update(resources)


def counted(cgroup: pathlib.Path, file: str) -> dict[str, int]:
    """Return a file of `name number` lines."""
    return {name: int(number) for name, number in map(str.split, (cgroup / file).read_text().splitlines())}


def with_disk(container: Container, numbers: str) -> None:
    """Give the container the disk."""
    at: dict[str, Any] = {**device(numbers), "type": "b"}
    container.config["linux"]["devices"] = [{**at, "path": DISK}]
    container.config["linux"]["resources"]["devices"].append({**at, "allow": True, "access": "rwm"})


# -- memory


@needs("memory controller")
def test_more_memory_than_that(container: Container, wait_until: Wait) -> None:
    """The kernel kills who wants it and nobody else; the unit and its files say so."""
    limited(container, memory={"limit": 16 * M})
    container.create("dd if=/dev/zero of=/dev/shm/x bs=1M count=48; echo $? >/dev/shm/status; exec sleep 1000")
    container.start()
    cgroup = cgroup_of(container)
    shm = pathlib.Path(f"/proc/{container.state()['pid']}/root/dev/shm")
    wait_until(lambda: (shm / "status").exists() and (shm / "status").read_text(), "the end of the hog", 20)
    assert (shm / "status").read_text() == "137\n"
    for group in (cgroup, cgroup.parent):
        assert counted(group, "memory.events")["oom_kill"] == 1
    assert container.state()["status"] == "running"
    container.delete()


@needs("memory controller")
def test_killed_as_one(container: Container) -> None:
    """With memory.oom.group the first process goes with the one that wanted too much, and `run` says so."""
    limited(container, memory={"limit": 16 * M}, unified={"memory.oom.group": "1"})
    container.create("dd if=/dev/zero of=/dev/shm/x bs=1M count=48; exec sleep 1000")
    shown = ["systemctl", "show", "--property=OOMPolicy", "--value", scope_of(container)]
    assert subprocess.run(shown, check=True, capture_output=True, text=True).stdout == "kill\n"
    container.delete()
    container.bundle.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=48; exec sleep 1000")
    assert container.run("run", "--bundle", container.bundle.path, container.name).returncode == 137


@needs("memory controller")
def test_swap(container: Container, swap: None) -> None:
    """It is counted together with memory: 16 MiB and as much again hold 24, and 16 MiB in all do not."""
    hog = "dd if=/dev/zero of=/dev/shm/x bs=1M count=24; echo $?; cat /sys/fs/cgroup/memory.swap.current"
    limited(container, memory={"limit": 16 * M, "swap": 32 * M})
    status, swapped = container.says(f"({hog}) 2>/dev/null").split()
    assert status == "0"
    assert 8 * M <= int(swapped) <= 16 * M
    limited(container, memory={"limit": 16 * M, "swap": 16 * M})
    assert container.says(f"({hog}) 2>/dev/null").split() == ["137", "0"]


@needs("memory controller")
def test_less_memory_and_more_swap(container: Container, swap: None, wait_until: Wait) -> None:
    """Where it has to swap to get below the new limit it may, from the first moment: nobody is killed."""
    limited(container, memory={"limit": 48 * M, "swap": 48 * M})
    container.create("dd if=/dev/zero of=/dev/shm/x bs=1M count=32; exec sleep 1000")
    container.start()
    cgroup = cgroup_of(container)
    wait_until(lambda: int((cgroup / "memory.current").read_text()) >= 32 * M, "32 MiB in use", 20)
    container.run("update", "--memory=16m", "--memory-swap=64m", container.name, check=True)
    assert int((cgroup / "memory.current").read_text()) <= 16 * M
    assert counted(cgroup, "memory.events")["oom_kill"] == 0
    container.delete()


@needs("memory controller")
def test_high(container: Container, null_disk: str) -> None:
    """What can be given back is, above it; nobody is killed."""
    limited(container, unified={"memory.high": "16M"})
    with_disk(container, null_disk)
    said = container.says(
        f"dd if={DISK} of=/dev/null bs=1M count=64 2>/dev/null; cd /sys/fs/cgroup; cat memory.peak memory.events"
    ).split()
    peak, events = int(said[0]), dict(zip(said[1::2], said[2::2]))
    assert peak < 20 * M
    assert int(events["high"]) > 0
    assert events["oom_kill"] == "0"


@needs("hugetlb controller")
def test_huge_pages(container: Container, huge_pages: None) -> None:
    limited(container, hugepageLimits=[{"pageSize": "2MB", "limit": 4 * M}])
    container.config["mounts"].append({"destination": "/huge", "type": "hugetlbfs", "source": "huge"})
    tried = "fallocate -l 4m /huge/fits && rm /huge/fits; fallocate -l 6m /huge/large; echo $?"
    assert container.says(f"({tried}) 2>/dev/null") == "1"


# -- processes and processors


@needs("pids controller")
def test_fork_bomb(container: Container) -> None:
    """It stops at the limit; the container stays, and so does the machine."""
    limited(container, pids={"limit": 10})
    bomb = (
        "(bomb() { bomb | bomb & }; bomb; sleep 1) 2>/dev/null; cat /sys/fs/cgroup/pids.peak /sys/fs/cgroup/pids.events"
    )
    peak, _, refused = container.says(bomb).split()[:3]
    assert peak == "10"
    assert int(refused) > 0


def shares(cgroup: pathlib.Path, windows: int = 5, seconds: float = 0.8) -> Iterator[float]:
    """Yield which part of a processor a cgroup had, in one window of time after the other."""
    for _ in range(windows):
        used, at = counted(cgroup, "cpu.stat")["usage_usec"], time.monotonic()
        time.sleep(seconds)
        yield (counted(cgroup, "cpu.stat")["usage_usec"] - used) / 1e6 / (time.monotonic() - at)


@needs("cpu controller")
def test_quota(container: Container) -> None:
    """A spinner gets its part of the time within 10 %, and never more.

    The largest of several windows counts, for on a busy host the whole machine stands still now and then.
    """
    limited(container, cpu={"quota": 10_000, "period": 40_000})
    container.create("while :; do :; done")
    container.start()
    assert max(shares(cgroup_of(container))) == pytest.approx(0.25, rel=0.1)
    container.delete()


@needs("cpu controller")
def test_burst(container: Container, wait_until: Wait) -> None:
    """What was saved while it slept comes on top: in the scope as well, or the scope would hold it back."""
    limited(container, cpu={"quota": 10_000, "period": 40_000, "burst": 10_000})
    container.create("while :; do sleep 0.2; timeout 0.2 sh -c 'while :; do :; done'; done")
    container.start()
    for cgroup in (cgroup_of(container), cgroup_of(container).parent):
        wait_until(lambda at=cgroup: counted(at, "cpu.stat")["burst_usec"] > 0, f"a burst in {cgroup}", 10)
    container.delete()


@needs("cpu controller", "cpuset controller")
def test_weights(run: Run, container: Container, container_id: str) -> None:
    """Three that want all of one processor get it as 3 to 1 to next to nothing."""
    names = {f"{container_id}-{word}": cpu for word, cpu in WEIGHED.items()}
    try:
        for name, cpu in names.items():
            limited(container, cpu={**cpu, "cpus": "1"})
            container.bundle.sh("while :; do :; done")
            run("create", "--bundle", container.bundle.path, name, check=True)
        cgroups = [cgroup_of(Container(run, container.bundle, name)) for name in names]
        assert [pathlib.Path(cgroup, "cpuset.cpus.effective").read_text() for cgroup in cgroups] == ["1\n"] * 3
        for name in names:
            run("start", name, check=True)
        before = [counted(cgroup, "cpu.stat")["usage_usec"] for cgroup in cgroups]
        do("sleep 4")
        heavy, light, idle = (counted(c, "cpu.stat")["usage_usec"] - old for c, old in zip(cgroups, before))
        assert heavy / light == pytest.approx(3, rel=0.1)
        assert idle < light / 5
    finally:
        for name in names:
            run("delete", "--force", name)


WEIGHED: dict[str, dict[str, Any]] = {"heavy": {"shares": 4400}, "light": {"shares": 1024}, "idle": {"idle": 1}}


@needs("cpuset controller")
def test_processors(container: Container) -> None:
    """sched_getaffinity(2) sees them, and moves with an update."""
    limited(container, cpu={"cpus": "1"})
    container.create()
    container.start()
    seen = ["exec", container.name, "sh", "-c", "nproc; grep Cpus_allowed_list /proc/self/status"]
    assert container.run(*seen, check=True).stdout.split() == ["1", "Cpus_allowed_list:", "1"]
    container.run("update", "--cpuset-cpus=0-1", container.name, check=True)
    assert container.run(*seen, check=True).stdout.split() == ["2", "Cpus_allowed_list:", "0-1"]
    container.delete()


# -- disks


@needs("io controller")
def test_throttle(container: Container, null_disk: str) -> None:
    """2 MiB at 1 MiB a second take two seconds; without that they are written at once."""
    with_disk(container, null_disk)
    limited(container, blockIO={"throttleWriteBpsDevice": [{**device(null_disk), "rate": M}]})
    container.create()
    container.start()

    def seconds() -> float:
        write = f"dd if=/dev/zero of={DISK} bs=64k count=32 oflag=direct 2>/dev/null"
        timed = f"cut -d' ' -f1 /proc/uptime; {write}; cut -d' ' -f1 /proc/uptime"
        since, till = container.run("exec", container.name, "sh", "-c", timed, check=True).stdout.split()
        return float(till) - float(since)

    throttled = seconds()
    assert throttled > 1.5
    lifted = {"blockIO": {"throttleWriteBpsDevice": [{**device(null_disk), "rate": 0}]}}
    container.run("update", "-r", "-", container.name, input=json.dumps(lifted), check=True)
    assert seconds() < throttled / 2
    container.delete()


# -- what somebody else does to the unit


@needs("pids controller")
def test_set_property(container: Container) -> None:
    """`systemctl set-property` holds at once, for all that the container does from now on."""
    limited(container, pids={"limit": 50})
    container.create()
    container.start()
    do(f"systemctl set-property --runtime {scope_of(container)} TasksMax=6")
    script = "(for n in 1 2 3 4 5 6 7 8 9; do sleep 1 & done) 2>&1; true"
    assert "can't fork" in container.run("exec", container.name, "sh", "-c", script).stdout
    container.delete()

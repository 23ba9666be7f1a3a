"""What the tests of limits stand on: a disk that takes everything, swap, huge pages, an RDMA device; all in the vm."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration import leaks
from tests.integration.conftest import CRUN, Container
from tests.integration.needs import SLOWER

CGROUPS = pathlib.Path("/sys/fs/cgroup")


def cgroup_of(container: Container) -> pathlib.Path:
    """Return the container's own cgroup; the one above it is its scope's."""
    return CGROUPS / leaks.cgroup_of(container.state()["pid"]).lstrip("/")


def scope_of(container: Container) -> str:
    return f"{'crun' if CRUN else 'pyoci'}-{container.name}.scope"


def device(numbers: str) -> dict[str, int]:
    """Return `8:0` as the members of a config."""
    major, _, minor = numbers.partition(":")
    return {"major": int(major), "minor": int(minor)}


def do(command: str) -> None:
    subprocess.run(["sh", "-euc", command], check=True, timeout=60 * SLOWER)


@pytest.fixture(scope="session")
def null_disk() -> str:
    """Return the numbers of a block device that writes nothing and reads nothing, as fast as it is allowed to."""
    do(
        "modprobe bfq && modprobe null_blk nr_devices=1 gb=1 queue_mode=2 && echo bfq >/sys/block/nullb0/queue/scheduler"
    )
    numbers = os.stat("/dev/nullb0").st_rdev
    return f"{os.major(numbers)}:{os.minor(numbers)}"


@pytest.fixture(scope="session")
def huge_pages() -> None:
    """There are four."""
    do("echo 4 >/proc/sys/vm/nr_hugepages && grep -q '^HugePages_Total: *4$' /proc/meminfo")


@pytest.fixture(scope="session")
def rdma_device() -> None:
    """`rxe0`, in software."""
    do(
        # each file that uses it has a session's fixture of its own: it may be there already
        "modprobe rdma_rxe && { ip link show rdma >/dev/null 2>&1 || ip link add rdma type dummy; } && ip link set rdma up &&"
        " { rdma link show rxe0/1 2>/dev/null || rdma link add rxe0 type rxe netdev rdma; }"
    )


@pytest.fixture
def swap() -> Iterator[None]:
    """There are 256 MiB of swap, in memory, for one test."""
    do("modprobe zram && echo 256M >/sys/block/zram0/disksize && mkswap --quiet /dev/zram0 && swapon /dev/zram0")
    yield
    # udev may still look at it
    reset = "for n in $(seq 100); do echo 1 >/sys/block/zram0/reset 2>/dev/null && exit 0; sleep 0.1; done; exit 1"
    do(f"swapoff /dev/zram0; {reset}")

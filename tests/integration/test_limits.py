"""Limits as the container, its unit and the kernel see them: from `create`, after `update`, after a daemon-reload."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterable
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container, Run
from tests.integration.needs import needs

M = 1 << 20
CGROUPS = pathlib.Path("/sys/fs/cgroup")
ours = pytest.mark.skipif(CRUN, reason="crun names the unit otherwise")


def case(controller: str, resources: Any, told: str, **files: str) -> Any:
    """Return the parameters for one controller: what is asked, the property of the unit, the files of the container."""
    name = f"{controller}: {' '.join(sorted(files))}"
    return pytest.param(resources, told, files, marks=needs(f"{controller} controller"), id=name)


LIMITS = [
    case("memory", {"memory": {"limit": 64 * M}}, f"MemoryMax={64 * M}", memory_max=f"{64 * M}"),
    case("memory", {"memory": {"reservation": 32 * M}}, f"MemoryLow={32 * M}", memory_low=f"{32 * M}"),
    case(
        "memory",
        {"memory": {"limit": 64 * M, "swap": 96 * M}},
        f"MemorySwapMax={32 * M}",
        memory_max=f"{64 * M}",
        memory_swap_max=f"{32 * M}",
    ),
    case("cpu", {"cpu": {"quota": 50000, "period": 100000}}, "CPUQuotaPerSecUSec=500ms", cpu_max="50000 100000"),
    case("cpuset", {"cpu": {"cpus": "0", "mems": "0"}}, "AllowedCPUs=0", cpuset_cpus="0", cpuset_mems="0"),
    case("pids", {"pids": {"limit": 100}}, "TasksMax=100", pids_max="100"),
    case("io", {"blockIO": {"weight": 500}}, "IOWeight=4500", io_weight="default 4500"),
    case(
        "io",
        {"blockIO": {"throttleReadBpsDevice": [{"major": 7, "minor": 0, "rate": M}]}},
        "",
        io_max=f"7:0 rbps={M} wbps=max riops=max wiops=max",
    ),
    case("memory", {"unified": {"memory.high": f"{48 * M}"}}, f"MemoryHigh={48 * M}", memory_high=f"{48 * M}"),
]


def files_of(container: Container, names: Iterable[str]) -> dict[str, str]:
    """Return what the files of the container's own cgroup hold; `memory_swap_max` is memory.swap.max."""
    cgroup = pathlib.Path(f"/proc/{container.state()['pid']}/cgroup").read_text().strip().removeprefix("0::/")
    return {name: (CGROUPS / cgroup / name.replace("_", ".")).read_text().strip() for name in names}


def unit_says(container: Container, told: str) -> str:
    command = ["systemctl", "show", f"--property={told.partition('=')[0]}", f"pyoci-{container.name}.scope"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


@pytest.mark.parametrize(("resources", "told", "files"), LIMITS)
def test_limit(container: Container, resources: Any, told: str, files: dict[str, str]) -> None:
    """It stands in the files of the container's own cgroup, and in the unit as far as systemd knows it."""
    container.config["linux"]["resources"] = resources
    container.create()
    if told and not CRUN:
        assert unit_says(container, told) == told
    assert files_of(container, files) == files
    container.delete()


@ours
@needs("hugetlb controller")
def test_limit_of_huge_pages(container: Container) -> None:
    """Not one of systemd's controllers: it is there for a cgroup of the runtime's own, and missing in a unit."""
    container.config["linux"]["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * M}]}
    container.refused("hugepageLimits.0", "the hugetlb controller is not available")


@needs("pids controller")
def test_no_more_processes_than_that(container: Container) -> None:
    container.config["linux"]["resources"] = {"pids": {"limit": 5}}
    said = container.says("(for n in 1 2 3 4 5 6 7 8 9; do sleep 1 & done) 2>&1; true")
    assert "can't fork" in said


@needs("memory controller")
def test_more_memory_than_that(container: Container, run: Run) -> None:
    """The kernel kills who wants it, and the container's status says so."""
    container.config["linux"]["resources"] = {"memory": {"limit": 16 * M}}
    container.bundle.sh("exec dd if=/dev/zero of=/dev/shm/zeroes bs=1M count=48")
    done = run("run", "--bundle", container.bundle.path, container.name)
    assert done.returncode == 137, done


UPDATES = [
    pytest.param(options, told, files, marks=needs(f"{controller} controller"), id=" ".join(options))
    for controller, options, told, files in [
        ("memory", ["--memory", "48m"], f"MemoryMax={48 * M}", {"memory_max": f"{48 * M}"}),
        ("memory", ["--memory-reservation", "8m"], f"MemoryLow={8 * M}", {"memory_low": f"{8 * M}"}),
        ("cpu", ["--cpu-quota", "30000"], "CPUQuotaPerSecUSec=300ms", {"cpu_max": "30000 100000"}),
        ("cpuset", ["--cpuset-cpus", "1"], "AllowedCPUs=1", {"cpuset_cpus": "1"}),
        ("pids", ["--pids-limit", "77"], "TasksMax=77", {"pids_max": "77"}),
    ]
]


@ours
@pytest.mark.parametrize(("options", "told", "files"), UPDATES)
def test_update(container: Container, options: list[str], told: str, files: dict[str, str]) -> None:
    """Changed in a container that lives, and still so when systemd has read everything again."""
    container.create()
    container.start()
    container.run("update", *options, container.name, check=True)
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)
    assert unit_says(container, told) == told
    assert files_of(container, files) == files
    container.delete()

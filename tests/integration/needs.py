"""What a test needs of the machine that not every machine has: `@needs("memory controller", "CAP_SYS_RESOURCE")`.

It is skipped where something is lacking, and is one of those that the stage `vm` runs (`-m needs`), where nothing is.
`PYOCI_MACHINE=vm` says that this is such a machine: what is lacking there is an error, or nobody would run the test.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

# deadlines are for a machine of native speed; a virtual one is some ten times slower, more so on a busy host
SLOWER = 10 if os.environ.get("PYOCI_MACHINE") == "vm" else 1
CONTROLLERS = ("cpu", "cpuset", "io", "memory", "hugetlb", "pids", "rdma", "misc")


def has_controller(name: str) -> bool:
    return name in pathlib.Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()


def has_capability(number: int) -> bool:
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    (effective,) = (line for line in status if line.startswith("CapEff"))
    return bool(int(effective.split()[1], 16) >> number & 1)


def has_idmapped_tmpfs() -> bool:
    return tuple(int(number) for number in os.uname().release.split(".")[:2]) >= (6, 3)


def has_apparmor() -> bool:
    return pathlib.Path("/sys/kernel/security/apparmor/profiles").exists()


HAS: dict[str, Callable[[], bool]] = {
    "CAP_SYS_RESOURCE": lambda: has_capability(24),
    "id-mapped tmpfs": has_idmapped_tmpfs,
    "AppArmor": has_apparmor,
    **{f"{name} controller": lambda name=name: has_controller(name) for name in CONTROLLERS},  # type: ignore[misc]
}


def needs(*things: str) -> pytest.MarkDecorator:
    """Return the marker of a test that needs `things`, names in HAS."""
    assert HAS.keys() >= set(things), things
    return pytest.mark.needs(*things)


def check(item: pytest.Item) -> None:
    """Skip a test that needs what the machine has not; fail it in the machine that should have everything."""
    lacking = [thing for mark in item.iter_markers("needs") for thing in mark.args if not HAS[thing]()]
    if lacking and os.environ.get("PYOCI_MACHINE") == "vm":
        pytest.fail(f"the virtual machine lacks: {', '.join(lacking)}", pytrace=False)
    if lacking:
        pytest.skip(f"the machine lacks: {', '.join(lacking)}")

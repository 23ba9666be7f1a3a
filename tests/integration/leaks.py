"""What a container could leave behind on a machine, counted before and after.

`snapshot()` is a mapping of kinds (units, cgroups, mounts, processes, …) to what there is of each, in readable words.
`leaked(before)` waits for systemd to tidy up and returns the difference, one line a thing: `+ cgroup: /x`.
Both see the whole machine, so only one test may run at a time.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
from collections import Counter
from collections.abc import Iterator

from pystemd.dbuslib import DBus
from pystemd.systemd1 import Manager

from pyoci_systemd.cgroup import bpf
from pyoci_systemd.errors import Error
from tests.integration.needs import SLOWER

Snapshot = dict[str, Counter[str]]

SECONDS_TO_TIDY_UP = 2.0 * SLOWER
KERNEL_THREAD = 0x200000  # PF_KTHREAD
CGROUPS = pathlib.Path("/sys/fs/cgroup")
TRANSIENT = pathlib.Path("/run/systemd/transient")
STATE_ROOTS = ("/run/pyoci", "/run/crun", "/run/runc")
# What is kept on purpose: compiled seccomp programs, and what systemd does not know.
CACHES = ("/run/pyoci/.seccomp", "/run/pyoci/.systemd-unknown", "/run/crun/.cache")
# Mounts that come and go on their own: systemd's, for each service that starts, and podman's, of its storage on itself.
PASSING_MOUNTS = ("/run/credentials/", "/var/lib/containers/storage/overlay ")
# Slices that stay once something has used them: they belong to the machine, not to a container.
STANDING_SLICES = {"machine.slice", "system.slice", "user.slice", "-.slice"}
# Units that systemd starts for itself or for who logs in; each may come or go during a test.
FOREIGN_UNITS = ("init.scope", "session-", "user-", "user@", "run-user-", "background.slice", "app.slice")


def snapshot() -> Snapshot:
    """Return what there is now."""
    return {
        "unit": Counter(units()),
        "cgroup": Counter(cgroups()),
        "mount": Counter(mounts()),
        "process": Counter(processes()),
        "state": Counter(path for path in entries(*STATE_ROOTS) if not path.startswith(CACHES)),
        # podman's lock of a user goes with her last session, some time later (logind.conf(5), RemoveIPC=)
        "shm": Counter(entry for entry in entries("/dev/shm", "/dev/mqueue") if "/libpod_rootless_lock_" not in entry),
        "pty": Counter(entries("/dev/pts")),
        "pin": Counter(entries("/sys/fs/bpf")),
        "program": Counter(programs()),
        "netns": Counter(entries("/run/netns")),
        "machine": Counter(machines()),
        "tmp": Counter(path for path in entries("/tmp", deep=False) if not path.startswith("/tmp/pytest-of-")),
        "fd": Counter(open_files()),
    }


def leaked(before: Snapshot, seconds: float = SECONDS_TO_TIDY_UP) -> list[str]:
    """Return what differs from `before`; look again for up to `seconds` while anything does."""
    deadline = time.monotonic() + seconds
    while True:
        difference = compare(before, snapshot())
        if not difference or time.monotonic() > deadline:
            return difference
        time.sleep(0.05)


def compare(before: Snapshot, after: Snapshot) -> list[str]:
    """Return one line for each thing that came (`+`) or went (`-`)."""
    lines = []
    for kind in before:
        for sign, more in (("+", after[kind] - before[kind]), ("-", before[kind] - after[kind])):
            lines += [f"{sign} {kind}: {what}" + (f" ({n} times)" if n > 1 else "") for what, n in sorted(more.items())]
    return lines


def units() -> Iterator[str]:
    """Yield the scopes, slices and transient services with their state, and every failed unit."""
    with DBus() as bus, Manager(bus=bus) as manager:  # 2 ms, twice for each test; systemctl takes 10
        listed = manager.Manager.ListUnits()
    for name, active in ((unit[0].decode(), unit[3].decode()) for unit in listed):
        ours = name.endswith((".scope", ".slice")) or (TRANSIENT / name).exists()
        standing = name in STANDING_SLICES or name.startswith(FOREIGN_UNITS) or name.startswith("system-")
        if active == "failed" or (ours and not standing):
            yield f"{name} {active}"


def cgroups() -> Iterator[str]:
    """Yield the cgroups, without those of the machine's own services."""
    for directory, below, _ in os.walk(CGROUPS):
        path = directory.removeprefix(str(CGROUPS)) or "/"
        if of_the_machine(path):
            below.clear()
        elif path.lstrip("/") not in STANDING_SLICES:
            yield path


def programs() -> Iterator[str]:
    """Yield the cgroups that have a device program of ours: one that a container was in may stay when it goes."""
    for cgroup in cgroups():
        with contextlib.suppress(Error):  # it is gone
            for program in bpf.attached(f"{CGROUPS}{cgroup}"):
                os.close(program)
                yield cgroup


def of_the_machine(cgroup: str) -> bool:
    """Say whether a cgroup is part of a service that systemd has from a unit file, of a login, or lies outside.

    Outside our cgroup namespace (`/..`) stands what holds the tests' own pipes from out there.
    """
    parts = cgroup.split("/")
    if cgroup in ("/init.scope", "/..") or cgroup.startswith(("/user.slice/", "/../")):
        return True
    if len(parts) < 3 or parts[1] != "system.slice":
        return False
    units_on_the_way = [part for part in parts[2:] if part.endswith((".service", ".socket", ".mount", ".slice"))]
    return bool(units_on_the_way) and not any((TRANSIENT / unit).exists() for unit in units_on_the_way)


def mounts() -> Iterator[str]:
    """Yield the mounts of PID 1's mount namespace, and of each other namespace that is not a system service's."""
    seen: set[str] = set()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
            if namespace in seen or (pid != 1 and of_the_machine(cgroup_of(pid))):
                continue
            seen.add(namespace)
            owner = "" if pid == 1 else f" in the namespace of {name_of(pid)}"
            for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
                left, _, right = line.partition(" - ")
                root, target, options = left.split()[3:6]
                if not f"{target} ".startswith(PASSING_MOUNTS):
                    yield f"{target} {right.split()[0]} of {right.split()[1]}{root} ({options}){owner}"


def processes() -> Iterator[str]:
    """Yield the processes, zombies too, without those of the machine's own services and the kernel's threads."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if not of_the_machine(cgroup_of(int(name))) and not of_the_kernel(int(name)):
                    yield f"{name} {name_of(int(name))}"


def of_the_kernel(pid: int) -> bool:
    """Say whether it is a thread of the kernel: seen in a machine with a kernel of its own, and renamed all the time."""
    flags = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]
    return bool(int(flags) & KERNEL_THREAD)


def cgroup_of(pid: int) -> str:
    """Return the cgroup of a process as a path from the root of the hierarchy."""
    [line] = [line for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::")]
    return line[3:]


def name_of(pid: int) -> str:
    """Return the command line of a process, or its name when it has none: a zombie."""
    arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    if arguments:
        return b" ".join(arguments).decode(errors="replace")[:120]
    return f"[{pathlib.Path(f'/proc/{pid}/comm').read_text().strip()}]"


def machines() -> Iterator[str]:
    """Yield what systemd-machined lists, by the files that tell it after a restart: sd_get_machine_names(3)."""
    return (path for path in entries("/run/systemd/machines") if "/unit:" not in path)


def entries(*roots: str, deep: bool = True) -> Iterator[str]:
    """Yield what lies in the directories `roots`, and below it when `deep`."""
    for root in roots:
        for directory, below, files in os.walk(root):
            yield from (f"{directory}/{name}" for name in (*below, *files))
            if not deep:
                break


def open_files() -> Iterator[str]:
    """Yield what our own file descriptors are open on."""
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listed the directory is gone
            yield os.readlink(f"/proc/self/fd/{descriptor}")

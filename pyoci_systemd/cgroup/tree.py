"""The unified hierarchy: where a process stands, and what is done below a cgroup's directory (cgroups(7))."""

from __future__ import annotations

import posix
from errno import EBUSY
from time import monotonic, sleep

from ..errors import Error, because
from ..kernelfs import exists, read, write
from .events import event, gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..cgroupfile import File

ROOT = "/sys/fs/cgroup"
STEP = 0.002  # seconds between two looks at a cgroup that empties
# what systemd hands down itself, where it is asked to; the others it leaves alone
SYSTEMDS = ("cpu", "cpuset", "io", "memory", "pids")
MADE = "trusted.pyoci"  # an extended attribute of the cgroups that we made on the way to a container's


def require_unified() -> None:
    """Raise Error on a host that does not have cgroup v2, and nothing else, on /sys/fs/cgroup."""
    try:
        posix.stat(f"{ROOT}/cgroup.controllers")
    except OSError:
        raise Error(
            f"`{ROOT}` is not a pure cgroup v2 hierarchy",
            hint="boot with `systemd.unified_cgroup_hierarchy=1`, or use `--cgroup-manager=disabled`",
        ) from None


def of_process(pid: int) -> str:
    """Return the cgroup of a process as an absolute directory. Raises Error when it has none on cgroup v2."""
    try:
        lines = read(f"/proc/{pid}/cgroup").split("\n")
    except OSError as error:
        raise because(f"cannot find the cgroup of process {pid}", error) from None
    for line in lines:
        if line.startswith("0::"):
            return ROOT + line[3:].rstrip("/")
    raise Error(f"process {pid} has no cgroup v2")


def enter(path: str, pid: int) -> None:
    """Make the cgroup `path` where it is missing and move `pid` into it. Raises Error."""
    try:
        make(path)
        write(f"{path}/cgroup.procs", str(pid))
    except OSError as error:
        raise because(f"cannot enter the cgroup `{path}`", error) from None


def make(path: str, marked: bool = False) -> None:
    """Make the directory `path` and those above it that are missing, marked for unmake(). Raises OSError."""
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        make(path.rpartition("/")[0], marked)
        posix.mkdir(path, 0o755)
    if marked:
        try:
            posix.setxattr(path, MADE, b"")
        except OSError:
            return  # not in the first user namespace: then it stays


def unmake(path: str, deadline: float) -> None:
    """Remove a cgroup and what make_delegated() made above it, unless another container is in there. Raises Error."""
    remove(path, deadline)
    try:
        while path := path.rpartition("/")[0]:
            posix.getxattr(path, MADE)
            posix.rmdir(path)
    except OSError:
        return  # somebody else's, or in use


def make_delegated(path: str) -> None:
    """Make the cgroup `path`, with every controller handed down from the root to it. Raises OSError."""
    make(path, marked=True)
    above = ROOT
    for name in path.removeprefix(ROOT).strip("/").split("/"):
        enable_controllers(above)
        above = f"{above}/{name}"


def enable_controllers(path: str) -> None:
    """Hand every controller that `path` has down to the cgroups in it.

    One that cannot be enabled stays off: whoever asks for a limit of it finds the file missing, and is told then.
    """
    have = read(f"{path}/cgroup.controllers").split()
    enabled = read(f"{path}/cgroup.subtree_control").split()
    for controller in have:
        if controller not in enabled:
            try:
                write(f"{path}/cgroup.subtree_control", f"+{controller}")
            except OSError:
                continue


def apply(path: str, limits: list[File]) -> None:
    """Write limits into the files of a cgroup. Raises Error naming who asked, before anything is written if it can."""
    for limit, (name, value) in zip(limits, [place(path, limit) for limit in limits]):
        try:
            write(f"{path}/{name}", value)
        except OSError as error:
            raise because(f"linux.resources.{limit.asked}: cannot write `{value}` to `{path}/{name}`", error) from None


def change(path: str, limits: list[File]) -> None:
    """Write limits as apply() does; if one is refused, the files get back the lines they had. Raises Error."""
    before = [(name, read(f"{path}/{name}")) for name, _ in [place(path, limit) for limit in limits]]
    try:
        apply(path, limits)
    except Error:
        for name, text in before:
            for line in text.splitlines():
                write(f"{path}/{name}", line)
        raise


def place(path: str, limit: File) -> tuple[str, str]:
    """Return the file that a cgroup has for a limit, and what to write there. Raises Error when it has none."""
    for name, value in ((limit.name, limit.value), limit.instead):
        if name and (exists(f"{path}/{name}") or reaches(path, name)):
            return name, value
    raise missing(path, limit.name, f"linux.resources.{limit.asked}")


def reaches(path: str, name: str) -> bool:
    """Hand the controller of the file `name` down from the root to `path`, if it is none of systemd's; is it there."""
    controller = name.partition(".")[0]
    if controller in SYSTEMDS or controller == "cgroup":
        return False
    above = ROOT
    try:
        for step in path.removeprefix(ROOT).strip("/").split("/"):
            if controller not in read(f"{above}/cgroup.subtree_control").split():
                write(f"{above}/cgroup.subtree_control", f"+{controller}")
            above = f"{above}/{step}"
    except OSError:
        return False
    return exists(f"{path}/{name}")


def missing(path: str, name: str, what: str) -> Error:
    """Return the Error for a limit that a cgroup has no file for."""
    controller = name.partition(".")[0]
    if controller in read(f"{path}/cgroup.controllers").split():
        return Error(f"{what}: this kernel's {controller} controller has no `{name}`")
    return Error(
        f"{what}: the {controller} controller is not available in `{path}`",
        hint="it must be enabled in cgroup.subtree_control of every cgroup above",
    )


def processes(path: str) -> Iterator[int]:
    """Yield the processes of a cgroup and of all below it. One that has gone has none."""
    try:
        for pid in read(f"{path}/cgroup.procs").split():
            yield int(pid)
        below = [entry for entry in posix.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if gone(error):
            return
        raise
    for entry in below:
        yield from processes(entry.path)


def kill(path: str) -> None:
    """Kill every process of a cgroup and of all below it, forks included; frozen ones too. Raises OSError."""
    try:
        write(f"{path}/cgroup.kill", "1")
    except OSError as error:
        if not gone(error):
            raise


def wait_empty(path: str, deadline: float) -> bool:
    """Wait until no process is left in a cgroup; false when the deadline (of time.monotonic()) passes first."""
    while event(path, "populated"):
        if monotonic() >= deadline:
            return False
        sleep(STEP)
    return True


def remove(path: str, deadline: float) -> None:
    """Remove an empty cgroup and all below it. Raises Error when it is still in use at the deadline."""
    while True:
        try:
            for entry in posix.scandir(path):
                if entry.is_dir(follow_symlinks=False):
                    remove(entry.path, deadline)
            posix.rmdir(path)
            return
        except OSError as error:
            if gone(error):
                return
            # a killed process leaves its cgroup a moment after it stops being seen
            if error.errno != EBUSY or monotonic() >= deadline:
                raise because(f"cannot remove the cgroup `{path}`", error) from None
        sleep(STEP)

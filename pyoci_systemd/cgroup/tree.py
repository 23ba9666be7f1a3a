"""The unified hierarchy: where a process stands, and what is done below a cgroup's directory (cgroups(7))."""

from __future__ import annotations

import posix
from errno import EOPNOTSUPP
from time import monotonic, sleep

from ..errors import Error, because
from ..kernelfs import exists, read, whole, write
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
DELEGATE = "/sys/kernel/cgroup/delegate"
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")  # of kernels that do not list them


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
    from .walk import remove  # systemd does that for most

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
    _join_threads(path)
    hand_down(ROOT, path)


def _join_threads(path: str) -> None:
    """Make a new cgroup below a threaded one threaded too: until then it takes nobody (cgroups(7), "Thread mode")."""
    if exists(f"{path}/cgroup.type") and read(f"{path}/cgroup.type") == "domain invalid\n":
        _join_threads(path.rpartition("/")[0])
        write(f"{path}/cgroup.type", "threaded")


def hand_down(top: str, path: str) -> None:
    """Hand the controllers of the cgroup `top` down to `path`, in each on the way. Raises OSError."""
    for name in path.removeprefix(top).strip("/").split("/") if path != top else ():
        enable_controllers(top)
        top = f"{top}/{name}"


def enable_controllers(path: str) -> None:
    """Hand every controller that `path` has down to the cgroups in it.

    One that cannot be enabled stays off: whoever asks for a limit of it finds the file missing, and is told then.
    """
    enabled = read(f"{path}/cgroup.subtree_control").split()
    lacking = [f"+{name}" for name in read(f"{path}/cgroup.controllers").split() if name not in enabled]
    if not lacking or crowded(path):
        return
    # at once: each write walks through all that is below
    for words in [lacking] if len(lacking) == 1 else [lacking, *([word] for word in lacking)]:
        try:
            write(f"{path}/cgroup.subtree_control", " ".join(words))
        except OSError:
            continue
        if words == lacking:
            return


def crowded(path: str) -> bool:
    """Do processes live in the cgroup itself; then it hands nothing down (cgroups(7), "no internal processes").

    But for the root, and for controllers of threads: with these the kernel would make it the root of a threaded
    subtree, in which no container is of any use.
    """
    try:
        return exists(f"{path}/cgroup.type") and bool(read(f"{path}/cgroup.procs"))
    except OSError:
        return False  # it is threaded, and has threads


def delegate(path: str, uid: int, gid: int) -> None:
    """Give a cgroup to a user, to divide it further: not its limits (cgroups(7), "Delegation"). Raises OSError."""
    try:
        names = read(DELEGATE).split()
    except FileNotFoundError:
        names = [*DELEGATED]
    for name in ("", *names):
        try:
            posix.chown(f"{path}/{name}", uid, gid)
        except FileNotFoundError:
            continue  # the list is of all that the kernel could have


def frozen(path: str) -> str:
    """Return the cgroup, `path` or one above it, that keeps whoever enters `path` from running; "" for none."""
    while path != ROOT:
        try:
            if read(f"{path}/cgroup.freeze") == "1\n":
                return path
        except FileNotFoundError:
            pass  # it is still to be made
        path = path.rpartition("/")[0]
    return ""


def apply(path: str, limits: list[File]) -> None:
    """Write limits into the files of a cgroup. Raises Error naming who asked, before anything is written if it can."""
    for limit, (name, value) in zip(limits, [place(path, limit) for limit in limits]):
        try:
            write(f"{path}/{name}", value)
        except OSError as error:
            raise because(f"linux.resources.{limit.asked}: cannot write `{value}` to `{path}/{name}`", error) from None


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

    def lacks(cgroup: str, file: str) -> bool:
        return controller not in read(f"{cgroup}/cgroup.{file}").split()

    if not lacks(path, "controllers"):
        return Error(f"{what}: this kernel's {controller} controller has no `{name}`")
    text = f"{what}: the {controller} controller is not available in `{path}`"
    if lacks(ROOT, "controllers"):
        hint = "is it bound to cgroup v1, or switched off by `cgroup_disable=`? See /proc/cgroups"
        return Error(f"{text}: this machine does not have it in cgroup v2", hint=hint)
    way = [path[:end] for end in range(len(ROOT), len(path)) if path[end] == "/"]
    culprit = next((above for above in way if lacks(above, "subtree_control")), path)
    if crowded(culprit):
        hint = "start this from a cgroup below it: `DelegateSubgroup=` of its unit, say"
        return Error(f"{text}: processes live in `{culprit}`, so it hands no controllers down", hint=hint)
    hint = f"`Delegate=yes` for its unit, or write `+{controller}` to its cgroup.subtree_control"
    return Error(f"{text}: `{culprit}` does not hand it down", hint=hint)


def processes(path: str) -> Iterator[int]:
    """Yield the processes of a cgroup and of all below it. One that has gone has none. Raises OSError."""
    from .walk import walk  # for `ps` and `kill --all`

    try:
        for cgroup in walk(path):
            yield from _own_processes(cgroup)
    except OSError as error:
        if not gone(error):
            raise


def _own_processes(path: str) -> list[int]:
    try:
        return [int(pid) for pid in whole(f"{path}/cgroup.procs").split()]
    except OSError as error:
        if gone(error):
            return []
        if error.errno != EOPNOTSUPP:
            raise
    # it is threaded: a process may have threads in several
    found = set()
    for thread in whole(f"{path}/cgroup.threads").split():
        try:
            found.add(int(read(f"/proc/{thread}/status").partition("\nTgid:")[2].split("\n")[0]))
        except OSError:
            continue
    return sorted(found)


def kill(path: str) -> None:
    """Kill every process of a cgroup and of all below it, forks included; frozen ones too. Raises OSError."""
    try:
        write(f"{path}/cgroup.kill", "1")
    except OSError as error:
        if error.errno == EOPNOTSUPP:
            from . import freezer  # for threaded cgroups, of which the kernel kills no process

            freezer.while_frozen(path, lambda: _kill_each(path))
        elif not gone(error):
            raise


def _kill_each(path: str) -> None:
    for pid in {*processes(path)}:
        try:
            posix.kill(pid, 9)
        except ProcessLookupError:
            continue


def wait_empty(path: str, deadline: float) -> bool:
    """Wait until no process is left in a cgroup; false when the deadline (of time.monotonic()) passes first."""
    while event(path, "populated"):
        if monotonic() >= deadline:
            return False
        sleep(STEP)
    return True

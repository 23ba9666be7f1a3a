"""What the runtime remembers: one directory a container below the state root.

    ROOT/ID/           0700; flock(2) on it serialises create, start and delete
    ROOT/ID/state.json what is known, written by tmp, fsync and rename
    ROOT/ID/config.json  the copy of the bundle's: later changes of the bundle's have no effect (spec: CFG6)
    ROOT/ID/notify/    where its programs find the socket for what they tell our service manager (notify.py)
    ROOT/ID/start      the socket on which the container waits for `start`; gone when it has been started

The directory comes before the first side effect and goes after the last one is undone. So whatever a killed create
left behind has its directory, and `delete --force` finds it.
"""

from __future__ import annotations

import posix
from time import gmtime, strftime, time

from .. import jsonio, kernelfs
from ..cgroup.events import event
from ..errors import Error, NotFound, because
from ..record import Record
from . import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE, CONFIG, START = "state.json", "config.json", "start"
LEARNED = ".systemd-unknown"  # beside the containers: learned.py
LOCK_DEADLINE = 35.0  # seconds: longer than a create may wait for systemd
BUSY, GONE = -1, -2  # instead of a lock


class Known(Record):
    """state.json."""

    id: str
    bundle: str
    rootfs: str
    created: str
    """RFC 3339"""
    owner: str
    manager: str
    unit: str = ""
    cgroup: str = ""
    """the directory of the container's own cgroup, "" as long as it has none"""
    cgroup_inode: int = 0
    """by which it is told from another's of the same name, as a container of another state root may have later"""
    lingers: bool = False
    """may its scope stay when it has failed"""
    pid: int = 0
    start_time: int = 0
    boot_id: str = ""
    annotations: dict[str, str] = {}
    keyring: bool = False
    """has it a session keyring of its own; then so has whoever joins it"""
    resctrl: list[str] = []
    """the groups whose `tasks` its processes are in"""
    resctrl_made: list[str] = []
    """those that `delete` removes, in this order"""
    last_steps: list[list[Any]] = []
    """what the init does after `start`: [index, what to say when it fails]"""
    seccomp_receiver: str = ""
    """what `create` was told by its environment; `start` has another"""
    journal: bool = False
    """is what becomes of it told to the journal"""
    hooks: list[str] = []
    """the kinds of hooks that config.json has"""
    sockets: list[str] = []
    """those of our own making in the file system, which go with it"""
    machine: str = ""
    """as what systemd-machined lists it"""
    notify: bool = False
    """does it tell our service manager how it is"""
    clock_offset: int = 0
    """how many µs its monotonic clock is ahead of ours"""

    def has_its_cgroup(self) -> bool:
        """Is the container's cgroup still there."""
        try:
            return bool(self.cgroup) and self.cgroup_inode in (0, posix.stat(self.cgroup).st_ino)
        except OSError:
            return False

    def tell(self, event: str, **fields: str) -> None:
        """Tell the journal what happened to it, if that is asked for."""
        if self.journal:
            from . import chronicle

            chronicle.tell(event, self, **fields)


_boot: list[str] = []
BLANK = Known("", "", "", "", "", "")


def now() -> str:
    """Return this moment as RFC 3339 with microseconds."""
    at = time()
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(at))}.{int(at % 1 * 1e6):06d}Z"


def boot_id() -> str:
    """Return the id of this boot: a pid of another boot means nothing."""
    if not _boot:  # `list` asks a thousand times
        _boot.append(kernelfs.read("/proc/sys/kernel/random/boot_id").strip())
    return _boot[0]


class Container:
    """One container's directory."""

    def __init__(self, root: str, container_id: str) -> None:
        self.root = root
        self.id = container_id
        self.path = f"{root}/{container_id}"
        self._lock = BUSY
        self._known: Known | None = None

    def absolute(self) -> str:
        """Return the path of the directory from the root: what the unit's marker says."""
        return self.path if self.path[0] == "/" else f"{posix.getcwd()}/{self.path}"

    # -- the lock

    def claim(self) -> None:
        """Make the directory and lock it: of many that create the same id, one gets it. Raises Error."""
        from .stateroot import make_root  # for create and run alone

        make_root(self.root)
        try:
            posix.mkdir(self.path, 0o700)
        except FileExistsError:
            raise Error(f"container `{self.id}` already exists") from None
        except OSError as error:
            raise because(f"cannot make `{self.path}`", error) from None
        try:
            self.lock()
        except BaseException:
            posix.rmdir(self.path)
            raise

    def lock(self) -> None:
        """Wait for whoever works on this container. Raises NotFound when it is (then) gone, Error at the deadline."""
        from .lock import wait  # `state` locks nothing, and is asked for most

        self._lock = wait(self.path, LOCK_DEADLINE)
        if self._lock == GONE:
            raise self.not_found()
        if self._lock == BUSY:
            raise Error(f"container `{self.id}` is busy: another command has been at work on it for too long")

    def unlock(self) -> None:
        """Let others work on this container."""
        if self._lock >= 0:
            posix.close(self._lock)
            self._lock = BUSY

    def is_being_made(self) -> bool:
        """Is a create at work on it: someone else holds the lock. Raises NotFound."""
        from .lock import take

        if self._lock >= 0:
            return False
        lock = take(self.path, shared=True)
        if lock == GONE:
            raise self.not_found()
        if lock >= 0:
            posix.close(lock)
        return lock == BUSY

    # -- what is known

    @property
    def known(self) -> Known:
        """The state as last written. Raises NotFound, or Error when it cannot be read."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> Known:
        try:
            directory = posix.lstat(self.path).st_mode & 0o170000 == 0o040000
        except OSError:
            raise self.not_found() from None
        if not directory:
            raise Error(f"container `{self.id}`: `{self.path}` is not a directory")
        path = f"{self.path}/{STATE}"
        if not kernelfs.exists(path):
            # a create was killed at its very beginning, or is just there
            return Known(self.id, "", "", "", "", "")
        try:
            value = jsonio.loads(jsonio.contents(path), STATE)
            if not isinstance(value, dict):
                raise ValueError
            known = Known(**value)
            for field in known.fields:
                if type(getattr(known, field)) is not type(getattr(BLANK, field)):
                    raise ValueError
        except (TypeError, ValueError, Error) as error:
            detail = f": {error.message}" if isinstance(error, Error) else ""
            text = f"container `{self.id}`: `{path}` is damaged{detail}"
            raise Error(text, hint="`delete --force` removes it") from None
        return known

    def not_found(self) -> NotFound:
        """Return the error that clients know by the words `does not exist`."""
        # looked for where someone will read it: it costs 10 ms, and clients often ask for containers that are gone
        close = close_names(self.root, self.id) if posix.isatty(2) else ""
        return NotFound(f"container `{self.id}` does not exist", hint=f"did you mean {close}?" if close else "")

    def write(self, known: Known) -> None:
        """Write the state, durably and whole. Raises Error."""
        self._known = known
        text = jsonio.dumps({field: getattr(known, field) for field in known.fields})
        self.write_file(STATE, text.encode())

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file of the container's directory: never half of it, whatever happens. Raises Error."""
        write_whole(f"{self.path}/{name}", data, 0o600)

    def status(self) -> str:
        """Return `creating`, `created`, `running`, `paused` or `stopped`."""
        known = self.known
        if not known.pid:
            return "creating" if self.is_being_made() else "stopped"
        if not process.lives(known.pid, known.start_time) or known.boot_id != boot_id():
            return "stopped"
        if known.cgroup and event(known.cgroup, "frozen"):
            return "paused"
        # the name goes with the execve: the socket alone is still there when a `start` was killed just after it
        waits = process.name(known.pid) == process.INIT and kernelfs.exists(f"{self.path}/{START}")
        return "created" if waits else "running"

    # -- the end

    def remove(self) -> None:
        """Remove the directory, and the sockets that go with it. Raises Error."""
        if self._known and self._known.sockets:
            from . import sockets  # of `--socket` alone

            sockets.remove(self._known.sockets)
        try:
            remove_directory(self.path)
        except FileNotFoundError:
            pass  # another one was faster
        except OSError as error:
            raise because(f"cannot remove `{self.path}`", error) from None
        self.unlock()


def write_whole(path: str, data: bytes, mode: int) -> None:
    """Replace a file: written beside it, made durable, renamed over it. Raises Error."""
    temporary = f"{path}.{posix.getpid()}.tmp"
    try:
        fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, mode)
        try:
            write_all(fd, data)
            posix.fsync(fd)
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except OSError as error:
        remove_file(temporary)
        raise because(f"cannot write `{path}`", error) from None


def write_all(fd: int, data: bytes | bytearray) -> None:
    """Write all of it, and keep no copy. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[posix.write(fd, rest) :]


def remove_directory(path: str) -> None:
    """Remove a directory and all in it; a link is removed, not followed. Raises OSError."""
    for entry in posix.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            remove_directory(entry.path)
        else:
            remove_file(entry.path)
    posix.rmdir(path)


def remove_file(path: str) -> None:
    """Remove a file, if that is possible."""
    try:
        posix.unlink(path)
    except OSError:
        return


def ids(root: str) -> list[str]:
    """Return the ids of all containers below a state root, sorted."""
    try:
        return sorted(name for name in posix.listdir(root) if name[0] != ".")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise because(f"cannot read the state root `{root}`", error) from None


def close_names(root: str, wanted: str) -> str:
    """Return the ids that someone who typed `wanted` may have meant, as a list in words."""
    try:
        names = ids(root)
    except Error:
        return ""
    if len(names) > 200:
        return ""
    from difflib import get_close_matches

    return " or ".join(f"`{name}`" for name in get_close_matches(wanted, names, n=3))

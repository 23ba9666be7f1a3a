"""What the command line asked for: `Settings` for every verb, `Options` for the one verb that runs."""

from __future__ import annotations

import posix

from .errors import Error, because
from .record import Record

SYSTEMD = "/run/systemd/system"  # made by the machine's own systemd (sd_booted(3))
KIND, DIRECTORY = 0o170000, 0o040000  # S_IFMT and S_IFDIR


def environ(name: str) -> str:
    """Return an environment variable, or "" when it is unset: clients hand us empty ones for unset ones."""
    return posix.environ.get(name.encode(), b"").decode("utf-8", "surrogateescape")


class Settings(Record):
    """The global options, as the front door read them.

    `warm_pid` is the launcher's helper process, which create and run must reap with
    `posix.waitpid(pid, __WALL)`; 0 when there is none. `argv0` is the name we were called by.
    """

    given_root: str = ""
    log: str = ""
    log_format: str = "text"
    log_level: str = "error"
    rootless: str = "auto"
    manager: str = "auto"
    machine_annotation: bool = False
    warm_pid: int = 0
    argv0: str = "pyoci"

    @property
    def debug(self) -> bool:
        return self.log_level == "debug"

    @property
    def root(self) -> str:
        """The state directory: `--root`, else the default for who we are. Raises Error when there is none."""
        return self.given_root or default_root()


def is_rootless() -> bool:
    """Do containers belong to a user, rather than to the machine. Raises OSError without a /run.

    So it is for everyone but root, and for root of a user namespace such as podman's, where the machine's systemd is
    that of a user it has no name for. Root of a whole machine in a user namespace (LXC) has a systemd of its own, and
    is root like any other; so the id maps are not looked at.
    """
    if posix.geteuid() != 0:
        return True
    try:
        return posix.stat(SYSTEMD).st_uid != 0
    except FileNotFoundError:
        return posix.stat("/run").st_uid != 0


def runtime_dir() -> str:
    """Return the directory of the user's session, $XDG_RUNTIME_DIR. Raises Error if there is none that is truly ours.

    In one of somebody else's the state would be theirs to change, and the bus theirs to answer (CVE-2019-12439).
    """
    path = environ("XDG_RUNTIME_DIR")
    if not path:
        usual = f"/run/user/{posix.getuid()}"
        remedy = "have a session that lasts: `loginctl enable-linger`"
        if posix.access(usual, posix.X_OK):
            remedy = f"`export XDG_RUNTIME_DIR={usual}`"
        raise Error("XDG_RUNTIME_DIR is not set", hint=f"{remedy}; or say where with `--root DIR`")
    try:
        found = posix.lstat(path)
    except OSError as error:
        hint = "there is no session of the user's; `loginctl enable-linger` begins one that lasts"
        raise Error(because(f"XDG_RUNTIME_DIR `{path}`", error).message, hint=hint) from None
    if found.st_mode & KIND != DIRECTORY:
        raise Error(f"XDG_RUNTIME_DIR `{path}` is not a directory")
    if found.st_uid != posix.geteuid():
        hint = "it came from another user's session: log in as this one, rather than by `su` or `sudo`"
        raise Error(f"XDG_RUNTIME_DIR `{path}` belongs to another user, {found.st_uid}", hint=hint)
    if found.st_mode & 0o077:
        raise Error(f"XDG_RUNTIME_DIR `{path}` is open to others", hint=f"`chmod 700 {path}`")
    return path


def default_root() -> str:
    """Return where containers are remembered when `--root` does not say. Raises Error when there is no such place.

    A root shell has XDG_RUNTIME_DIR or has not, by how it was opened: were it honoured there, the same root would see
    two sets of containers (crun#1238).
    """
    return f"{runtime_dir()}/pyoci" if is_rootless() else "/run/pyoci"


class Options:
    """The options and arguments of one verb, by the `dest` of their rows in cli/options.py.

    Only those of the verb are set; a path that was not given is "".
    """

    id: str
    action: str
    signal: str
    bundle: str
    config: str
    file: str
    console_socket: str
    pidfd_socket: str
    pid_file: str
    preserve_fds: int
    no_pivot: bool
    no_new_keyring: bool
    no_subreaper: bool
    detach: bool
    keep: bool
    credential: list[str]
    credentials: bool
    notify: str
    journal: str
    machine: str
    all: bool
    regex: bool
    force: bool
    own_unit: bool
    format: str
    quiet: bool
    follow: bool
    lines: str
    since: str
    output: str
    sockets: list[str]
    restart: str
    watchdog: str
    stop_timeout: str
    load_credentials: list[str]
    after: list[str]
    of_user: bool
    remove: bool
    json: bool
    repair: bool
    rootless: bool
    process: str
    command: list[str]
    ps_options: list[str]
    cwd: str
    env: list[str]
    user: str
    additional_gids: list[str]
    cap: list[str]
    cgroup: str
    tty: str
    apparmor: str
    process_label: str
    no_new_privs: bool
    ignore_paused: bool
    ids: list[str]
    interval: str
    stats: bool
    state: bool
    stream: bool
    no_stream: bool
    resources: str
    memory: str
    memory_swap: str
    memory_reservation: str
    cpu_share: str
    cpu_quota: str
    cpu_period: str
    cpu_burst: str
    cpu_idle: str
    cpuset_cpus: str
    cpuset_mems: str
    pids_limit: str
    property: list[str]
    l3_cache_schema: str
    mem_bw_schema: str
    blkio_weight: str
    cpu_rt_period: str
    cpu_rt_runtime: str
    kernel_memory: str
    kernel_memory_tcp: str

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

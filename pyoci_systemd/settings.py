"""What the command line asked for: `Settings` for every verb, `Options` for the one verb that runs."""

from __future__ import annotations

import posix

from .errors import Error
from .record import Record


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
    warm_pid: int = 0
    argv0: str = "pyoci"

    @property
    def debug(self) -> bool:
        return self.log_level == "debug"

    @property
    def root(self) -> str:
        """The state directory: `--root`, else the default for who we are. Raises Error when there is none."""
        return self.given_root or default_root()


def default_root() -> str:
    """Return where containers are remembered when `--root` does not say.

    A root shell has XDG_RUNTIME_DIR or has not, by how it was opened: were it honoured there, the same
    root would see two sets of containers (crun#1238). But podman runs us as uid 0 of a rootless user's
    namespace, and that uid 0 is known by a /run which belongs to nobody it has a name for.
    """
    runtime_dir = environ("XDG_RUNTIME_DIR")
    if posix.geteuid() == 0 and (not runtime_dir or posix.stat("/run").st_uid == 0):
        return "/run/pyoci"
    if not runtime_dir:
        raise Error("XDG_RUNTIME_DIR is not set", hint="log in through logind, or say where with `--root DIR`")
    return f"{runtime_dir}/pyoci"


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
    sockets: list[str]
    all: bool
    regex: bool
    force: bool
    format: str
    quiet: bool
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
    blkio_weight: str
    cpu_rt_period: str
    cpu_rt_runtime: str
    kernel_memory: str
    kernel_memory_tcp: str

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

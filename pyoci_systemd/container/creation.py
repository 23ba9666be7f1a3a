"""What `create` and `run` share: from the bundle to a container that waits at its last gate.

The order, and why:

    plan            everything that can be refused is refused before the first side effect
    claim           the intent: directory and state, so that whatever follows can be found and cleared
    init            spawned; it makes the namespaces and tells the pid
    scope           asked for at once; PID 1 works while the init builds the root filesystem
    gate            when the scope stands: cgroup namespace, change of root, process
    state, pid file the pid file last, for its presence is what clients wait for
"""

from __future__ import annotations

import _signal
import posix
from time import gmtime, monotonic, strftime, time

from .. import jsonio, kernelfs, log
from ..cgroup import tree
from ..cgroup.events import event
from ..errors import BusError, Error, because, failure
from ..init.dialogue import CONSOLE, GATE, PID, WALL, Init, Reply
from ..init.wire import encode
from ..plan import device_filter, limits, namespaces
from ..plan import plan as planning
from ..plan.facts import Request
from ..plan.marker import marker
from ..plan.ops import AwaitStart
from ..plan.rootfs import SCOPE_GATE, STATE_GATE
from ..settings import environ
from ..spec import sysctl
from ..spec.load import load
from . import console, filters, identity, probe, process, scope, unixsocket
from .store import CONFIG, START, Container, Known, boot_id, remove_file, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from ..plan.plan import Plan
    from ..settings import Options, Settings
    from ..spec.types import Config
    from ..systemd.bus import Bus

NAMESPACE_FILES = {"network": "net", "ipc": "ipc", "uts": "uts", "user": "user"}
SUBGROUP = "container"
DEADLINE = 30.0  # seconds for systemd to make a scope
MAX_PRESERVED = 1 << 16
FATAL = {_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM}


class Creation:
    """One container on its way."""

    def __init__(self, settings: Settings, options: Options, wait_for_start: bool) -> None:
        # ours, not the caller's, decides who may read what we write; the init and the container have their own
        posix.umask(0o022)
        # a caller that ignores it would have the kernel reap our children before we do
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        self.settings = settings
        self.options = options
        self.wait_for_start = wait_for_start
        self.container = Container(settings.root, identity.check(options.id))
        self.master = -1
        """the terminal's other side, when it was not sent away"""
        self._bus: Bus | None = None
        self._start: socket | None = None
        self._scope = False
        self._pid_file = ""
        self._init: Init | None = None

    @property
    def init(self) -> Init:
        assert self._init
        return self._init

    # -- before the first side effect

    def plan(self) -> None:
        """Load the config, make the plan, and refuse all that can be known to fail. Raises Error."""
        self.load_and_plan()
        self.check()
        for text in self.made.warnings:
            log.warning(text)
        if log.wants("debug"):
            for op in self.made.ops:
                log.debug(op.describe())

    def load_and_plan(self) -> None:
        """Load the config and make the plan. Raises Error."""
        options = self.options
        bundle = absolute(options.bundle or ".")
        path = options.config or f"{bundle}/config.json"
        try:
            posix.stat(bundle)
        except OSError as error:
            raise because(f"bundle `{bundle}`", error) from None
        self.text = jsonio.contents(path)
        self.config: Config = load(self.text)
        self.request = Request(
            id=options.id,
            bundle=bundle,
            config_path=absolute(path),
            state_dir=self.container.absolute(),
            manager=self.settings.manager,
            preserve_fds=options.preserve_fds + listen_fds(),
            no_pivot=options.no_pivot,
            new_keyring=not options.no_new_keyring,
            wait_for_start=self.wait_for_start,
        )
        program, flags = filters.program(self.config, self.settings.root)
        self.made: Plan = planning.make(self.config, probe.facts(), self.request, program, flags)

    def check(self) -> None:
        """Refuse what the host, rather than the config, does not allow. Raises Error."""
        if posix.geteuid():
            raise Error("rootless containers are not supported yet: run as root")
        if self.made.manager != "disabled":
            tree.require_unified()
        cgroup = self._own_cgroup()
        if cgroup and event(cgroup, "populated"):
            # who lives in it would be killed with the container
            raise Error(f"cgroup `{cgroup}` is in use")
        self._check_sysctls()
        console.check(self.config, self.options, self.wait_for_start or self.options.detach)
        if not self.wait_for_start and not self.config.get("process"):
            raise Error("config.json: process is required to run something")
        if self.request.preserve_fds > MAX_PRESERVED:
            raise Error(f"--preserve-fds: more than {MAX_PRESERVED} file descriptors")
        rootfs = self.made.rootfs
        try:
            directory = posix.stat(rootfs).st_mode & 0o170000 == 0o040000
        except OSError as error:
            raise because(f"root filesystem `{rootfs}`", error) from None
        if not directory:
            raise Error(f"root filesystem `{rootfs}`: Not a directory")

    def _check_sysctls(self) -> None:
        """Refuse to set the host's own parameters by way of a namespace that is joined and is the host's."""
        linux = self.config.get("linux", {})
        for key in linux.get("sysctl", {}):
            kind = sysctl.namespace(sysctl.parts(key))
            path = namespaces.wanted(self.config).get(kind or "")
            own = f"/proc/self/ns/{NAMESPACE_FILES.get(kind or '', '')}"
            try:
                if path and posix.stat(path).st_ino == posix.stat(own).st_ino:
                    raise Error(
                        f"config.json: linux.sysctl: `{key}` is of the {kind} namespace, which is the host's own"
                    )
            except OSError as error:
                raise because(f"{kind} namespace `{path}`", error) from None

    # -- the side effects

    def build(self) -> None:
        """Do it. On any failure everything is undone before the error is passed on."""
        # a signal waits until there is either a whole container or none
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        self.container.claim()
        try:
            self._build()
        except BaseException as error:
            self.undo(error)
            raise
        finally:
            if self._bus:
                # before anything waits for the workload: messages that pile up on an undrained connection made
                # systemd refuse later scopes
                self._bus.close()

    def _build(self) -> None:
        self.known = self._intent()
        self.container.write(self.known)
        self.container.write_file(CONFIG, self.text)
        if self.wait_for_start:
            self._start = self._listen()
        self._init = Init.spawn(encode(self.made.ops), self.request.preserve_fds, self._start)
        if self.made.unit:
            # only now: it takes the bus as long to wake up as the init to make its namespaces
            self._bus = scope.connect()
        self._await_pid()
        self._place()
        self.init.let_through()
        self._await_state()

    def _listen(self) -> socket:
        path = f"{self.container.path}/{START}"
        try:
            return unixsocket.listen(path)
        except OSError as error:
            raise because(f"cannot make `{path}`", error) from None

    def _own_cgroup(self) -> str:
        """Return the cgroup that we make ourselves, "" where systemd does it or nobody."""
        if self.made.manager != "cgroupfs":
            return ""
        return f"{tree.ROOT}/{self.made.cgroups_path.strip('/') or self.options.id}"

    def _intent(self) -> Known:
        made = self.made
        return Known(
            id=self.options.id,
            bundle=self.request.bundle,
            rootfs=made.rootfs,
            created=now(),
            owner=owner(),
            manager=made.manager,
            unit=made.unit,
            cgroup=self._own_cgroup(),
            boot_id=boot_id(),
            annotations=self.config.get("annotations") or {},
        )

    def _await_pid(self) -> None:
        expected = GATE if self.made.uid_map else PID
        reply = self.init.expect(expected, self.explain)
        if expected == GATE:
            self._map_ids()
            self.init.let_through()
            reply = self.init.expect(PID, self.explain)
        self.init.pid = reply.value
        self.init.reap_first()

    def _map_ids(self) -> None:
        """Write the id maps of the init's new user namespace (user_namespaces(7)). Raises Error."""
        base = f"/proc/{self.init.first}"
        for name, text in (("uid_map", self.made.uid_map), ("gid_map", self.made.gid_map)):
            try:
                kernelfs.write(f"{base}/{name}", text)
            except OSError as error:
                raise because(f"cannot write {text.replace(chr(10), '; ')!r} to {name}", error) from None

    def _place(self) -> None:
        """Put the init where it is to live: into its scope, or into a cgroup that we make."""
        known, pid = self.known, self.init.pid
        known.pid, known.start_time = pid, process.start_time(pid)
        if self._bus:
            self._scope = True
            try:
                scope.start(self._bus, self.made.unit, with_pid(self.made.properties, pid), monotonic() + DEADLINE)
            except BusError as error:
                # a scope cannot stand without its process: if the init died, why it did is the better answer
                raise self._last_words() or error from None
            unit_cgroup = tree.of_process(pid)
            if not unit_cgroup.endswith(f"/{self.made.unit}"):
                # systemd adopts a process that has just died, too; its cgroup is still the one it died in: ours
                raise self._last_words() or Error("the container's init died")
            known.cgroup = f"{unit_cgroup}/{SUBGROUP}"
            tree.enter(known.cgroup, pid)
            tree.enable_controllers(unit_cgroup)
        elif known.cgroup:
            make_cgroup(known.cgroup)
            tree.apply(known.cgroup, limits.files(self.config))
            self._restrict_devices(known.cgroup)
            tree.enter(known.cgroup, pid)

    def _restrict_devices(self, cgroup: str) -> None:
        program = device_filter.program(self.config)
        if program:
            from ..cgroup import bpf  # 6 ms of ctypes, where systemd does not do it for us

            bpf.attach(cgroup, program)

    def _last_words(self) -> Error | None:
        reply = self.init.last_words()
        return self.explain(reply) if reply else None

    def _await_state(self) -> None:
        """Take the init from the gate of the scope to that of the state, and with it what it has to tell."""
        self.init.expect(GATE, self.explain, SCOPE_GATE)
        self._await_console()
        self.init.expect(GATE, self.explain, STATE_GATE)

    def _await_console(self) -> None:
        if self.config.get("process", {}).get("terminal"):
            reply = self.init.expect(CONSOLE, self.explain)
            if self.options.console_socket:
                console.send(self.options.console_socket, reply.fd)
            else:
                self.master = reply.fd

    def commit(self) -> None:
        """Write the state and let the container outlive us. Undoes everything when that fails."""
        try:
            self._commit()
        except BaseException as error:
            self.undo(error)
            raise

    def _commit(self) -> None:
        if pending := _signal.sigpending() & FATAL:
            raise Error(f"interrupted by signal {min(pending)}", status=128 + min(pending))
        self.known.last_steps = self._last_steps()
        self.container.write(self.known)
        if self.options.pid_file:
            write_whole(absolute(self.options.pid_file), str(self.known.pid).encode(), 0o644)
            self._pid_file = absolute(self.options.pid_file)
        self.init.let_through()
        self.container.unlock()

    def _last_steps(self) -> list[list[object]]:
        """Return what `start` will have to say when a step after it fails: it has no plan any more."""
        ops = self.made.ops
        if not self.config.get("process"):
            return []
        first = next((i for i, op in enumerate(ops) if isinstance(op, AwaitStart)), len(ops))
        return [[index, ops[index].complaint()] for index in range(first, len(ops))]

    def explain(self, reply: Reply) -> Error:
        """Return the error for an op that failed."""
        return Error(failure(self.made.ops[reply.index].complaint(), posix.strerror(reply.error)))

    # -- the way back

    def undo(self, cause: BaseException) -> None:
        """Leave nothing behind. What cannot be undone is logged: the cause is what the caller must hear."""
        if self._init:
            self.init.abandon()
        try:
            if self._scope:
                scope.clear(self.made.unit, marker(self.request.state_dir))
            if self.known.cgroup and not self.made.unit:
                tree.remove(self.known.cgroup, monotonic() + 5)
        except (Error, AttributeError) as error:
            log.warning(f"while undoing: {error}")
        if self._pid_file:
            remove_file(self._pid_file)
        self.container.remove()

    def reap_helper(self) -> None:
        """Collect the launcher's helper."""
        if self.settings.warm_pid:
            try:
                posix.waitpid(self.settings.warm_pid, WALL)
            except ChildProcessError:
                return


def with_pid(properties: tuple[tuple[str, str, object], ...], pid: int) -> list[tuple[str, str, object]]:
    """Return the properties with the process filled in."""
    return [(name, kind, [pid] if name == "PIDs" else value) for name, kind, value in properties]


def absolute(path: str) -> str:
    """Return a path from the root, without resolving links."""
    if path.startswith("/"):
        return path
    return posix.getcwd() if path == "." else f"{posix.getcwd()}/{path}"


def make_cgroup(path: str) -> None:
    """Make a cgroup and hand the controllers down to it. Raises Error."""
    try:
        tree.make_delegated(path)
    except OSError as error:
        raise because(f"cannot make the cgroup `{path}`", error) from None


def owner() -> str:
    """Return our user's name, or the number where it has none."""
    uid = posix.getuid()
    if uid == 0:
        return "root"
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def now() -> str:
    """Return this moment as RFC 3339 with microseconds."""
    at = time()
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(at))}.{int(at % 1 * 1e6):06d}Z"


def listen_fds() -> int:
    """Return how many descriptors systemd passed us (sd_listen_fds(3))."""
    count = environ("LISTEN_FDS")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 6 else 0

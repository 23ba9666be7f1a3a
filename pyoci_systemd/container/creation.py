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

from .. import jsonio, log
from ..cgroup import tree
from ..errors import BusError, Error, because
from ..init.dialogue import CONSOLE, GATE, PID, WALL, Init, Reply
from ..init.wire import encode
from ..plan import device_filter, resources
from ..plan import hooks as hook_plan
from ..plan import plan as planning
from ..plan.facts import Request
from ..plan.marker import marker
from ..plan.ops import AwaitStart
from ..plan.words import HOOKS_GATE, NETWORK_GATE, SCOPE_GATE, STATE_GATE
from ..settings import environ
from ..spec.load import load
from . import admission, console, filters, identity, pidfd, probe, process, scope, signals, unixsocket
from .caller import absolute, listen_fds, nameable, owner
from .explain import explain
from .store import CONFIG, START, Container, Known, boot_id, remove_file, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from ..plan.plan import Plan
    from ..settings import Options, Settings
    from ..spec.types import Config
    from ..systemd.bus import Bus
    from .netdevices import Devices
    from .resctrl import Share

SUBGROUP = "container"
DEADLINE = 30.0  # seconds for systemd to make a scope


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
        self.known = Known(options.id, "", "", "", "", "")
        self.master = -1
        """the terminal's other side, when it was not sent away"""
        self._bus: Bus | None = None
        self._start: socket | None = None
        self._namespaces: list[int] = []
        self._scope = False
        self._pid_file = ""
        self._init: Init | None = None
        self.devices: Devices | None = None
        """those of the host's network that the container has, as long as they may have to be brought back"""
        self._share: Share | None = None

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
            for op in [*self.made.ops, *self.made.outside]:
                log.debug(op.describe())

    def load_and_plan(self) -> None:
        """Load the config and make the plan. Raises Error."""
        options = self.options
        bundle = nameable(absolute(options.bundle or "."))
        path = options.config or f"{bundle}/config.json"
        try:
            posix.stat(bundle)
        except OSError as error:
            raise because(f"bundle `{bundle}`", error) from None
        self.text = jsonio.contents(path)
        self.config: Config = load(self.text)
        if posix.geteuid():
            self._give_user_namespace()
        self.request = Request(
            id=options.id,
            bundle=bundle,
            config_path=nameable(absolute(path)),
            state_dir=self.container.absolute(),
            manager=self.settings.manager,
            preserve_fds=options.preserve_fds + listen_fds(),
            no_pivot=options.no_pivot,
            new_keyring=not options.no_new_keyring,
            seccomp_receiver=environ("RUN_OCI_SECCOMP_RECEIVER"),
            properties=options.property,
            wait_for_start=self.wait_for_start,
        )
        facts = probe.facts(self.config, bundle)
        program, flags = filters.program(self.config, self.settings.root)
        self.made: Plan = planning.make(self.config, facts, self.request, program, flags)

    def _give_user_namespace(self) -> None:
        """Give the container a user namespace if it asks for none: nothing of it could be made without one."""
        from ..plan import automatic  # for users alone
        from . import subids

        if automatic.is_needed(self.config):
            self.config = automatic.with_user_namespace(self.config, subids.ids())
            self.text = jsonio.dumps(self.config).encode("utf-8", "surrogateescape")

    def check(self) -> None:
        """Refuse what the host, rather than the config, does not allow. Raises Error."""
        if self.made.manager != "disabled":
            tree.require_unified()
        admission.cgroup(self._own_cgroup())
        admission.sysctls(self.config)
        admission.rootfs(self.made.rootfs)
        probe.check_devices(self.made.devices)
        admission.descriptors(self.request.preserve_fds)
        if self.config.get("linux", {}).get("netDevices"):
            from .netdevices import Devices  # few containers have any

            self.devices = Devices(self.config)
        if asked := self.config.get("linux", {}).get("intelRdt"):
            from . import resctrl  # of large servers alone

            self._share = resctrl.Share(asked, self.options.id, resctrl.mount_point())
            self._share.check()
        console.check(self.config.get("process"), self.options, self.wait_for_start or self.options.detach)
        if not self.wait_for_start and not self.config.get("process"):
            raise Error("config.json: process is required to run something")

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
        given = [self._start.fileno()] if self._start else []
        if self.made.mappings:
            from . import idmaps  # for the few who map the ids of mounts

            self._namespaces = idmaps.namespaces(self.made.mappings)
        self._init = Init.spawn(encode(self.made.ops), self.request.preserve_fds, [*given, *self._namespaces])
        if self.made.unit:
            # only now: it takes the bus as long to wake up as the init to make its namespaces
            self._bus = scope.connect()
        self._await_pid()
        self._place()
        if self._share:
            self._share.admit(self.init.pid)
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
            seccomp_receiver=self.request.seccomp_receiver,
            hooks=hook_plan.kinds(self.config),
            keyring=self.request.new_keyring,
            resctrl=self._share.groups() if self._share else [],
            resctrl_made=self._share.own() if self._share else [],
        )

    def _await_pid(self) -> None:
        expected = GATE if self.made.uid_map else PID
        reply = self.init.expect(expected, self.explain)
        if expected == GATE:
            from . import idmaps  # for user namespaces only

            idmaps.write(self.init.first, self.made.uid_map, self.made.gid_map)
            self.init.let_through()
            reply = self.init.expect(PID, self.explain)
        self.init.pid = reply.value
        self.init.reap_first()

    def _place(self) -> None:
        """Put the init where it is to live: into its scope, or into a cgroup that we make."""
        known, pid = self.known, self.init.pid
        known.pid, known.start_time = pid, process.start_time(pid)
        if self._bus:
            self._scope = True
            try:
                properties = with_pid(self.made.properties, pid)
                scope.start(self._bus, self.made.unit, properties, monotonic() + DEADLINE, self.made.asked)
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
            # where the container sees them, and where systemd never writes
            tree.apply(known.cgroup, self.made.limits)
        elif known.cgroup:
            make_cgroup(known.cgroup)
            tree.apply(known.cgroup, self.made.limits)
            self._restrict_devices(known.cgroup)
            tree.enter(known.cgroup, pid)

    def _restrict_devices(self, cgroup: str) -> None:
        program = device_filter.program(self.config)
        if program and resources.UNENFORCED not in self.made.warnings:
            from ..cgroup import bpf  # 6 ms of ctypes, where systemd does not do it for us

            bpf.attach(cgroup, program)

    def _last_words(self) -> Error | None:
        reply = self.init.last_words()
        return self.explain(reply) if reply else None

    def _await_state(self) -> None:
        """Take the init from the gate of the scope to that of the state, and with it what it has to tell."""
        self.init.expect(GATE, self.explain, SCOPE_GATE)
        if self.devices:
            self.devices.take(self.init.expect(GATE, self.explain, NETWORK_GATE).fd, self.known.pid)
            self.init.let_through()
        self._await_console()
        if any(kind in hook_plan.BEFORE_PIVOT for kind in self.known.hooks):
            self.init.expect(GATE, self.explain, HOOKS_GATE)
            for kind in hook_plan.BEFORE_PIVOT:
                self.run_hooks(kind)
            self.init.let_through()
        self.init.expect(GATE, self.explain, STATE_GATE)
        if self.made.outside:
            from . import errand  # for priorities and limits of containers with a user namespace alone

            errand.run(self.made.outside, self.init.pid)

    def run_hooks(self, kind: str) -> None:
        """Run the hooks of one kind. Raises Error for the first that fails."""
        if kind in self.known.hooks:
            from . import hooks

            hooks.run(kind, self.config, self.known, self.settings.root)

    def _await_console(self) -> None:
        if self.config.get("process", {}).get("terminal"):
            reply = self.init.expect(CONSOLE, self.explain)
            if self.options.console_socket:
                console.send(self.options.console_socket, reply.fd)
            else:
                from .relay import resize

                # before the program runs: many ask for the size once
                self.master = reply.fd
                resize(self.master)

    def commit(self) -> None:
        """Write the state and let the container outlive us. Undoes everything when that fails."""
        try:
            self._commit()
        except BaseException as error:
            self.undo(error)
            raise

    def _commit(self) -> None:
        signals.interrupted()
        self.known.last_steps = self._last_steps()
        self.container.write(self.known)
        receiver = self.options.pidfd_socket or self.known.annotations.get("run.oci.pidfd_receiver")
        if receiver:
            pidfd.send(receiver, self.known.pid)
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
        return explain(reply, self.made.ops)

    # -- the way back

    def undo(self, cause: BaseException) -> None:
        """Leave nothing behind. What cannot be undone is logged: the cause is what the caller must hear."""
        if self.devices:
            self.devices.give_back()
        if self._init:
            self.init.abandon()
        try:
            if self._share:
                self._share.undo()
            if self._scope:
                scope.clear(self.made.unit, marker(self.request.state_dir))
            if self.known.cgroup and not self.made.unit:
                tree.unmake(self.known.cgroup, monotonic() + 5)
        except Error as error:
            log.warning(f"while undoing: {error}")
        if self._pid_file:
            remove_file(self._pid_file)
        self.container.remove()
        if "poststop" in self.known.hooks:
            from . import hooks

            hooks.run_last(self.config, self.known, self.settings.root)

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


def make_cgroup(path: str) -> None:
    """Make a cgroup and hand the controllers down to it. Raises Error."""
    try:
        tree.make_delegated(path)
    except OSError as error:
        raise because(f"cannot make the cgroup `{path}`", error) from None


def now() -> str:
    """Return this moment as RFC 3339 with microseconds."""
    at = time()
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(at))}.{int(at % 1 * 1e6):06d}Z"

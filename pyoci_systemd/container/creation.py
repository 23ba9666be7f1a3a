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
from time import monotonic

from .. import log
from ..cgroup import tree
from ..errors import BusError, Error
from ..init.dialogue import CONSOLE, GATE, PID, Died, Init, Reply
from ..init.wire import encode
from ..plan import hooks as hook_plan
from ..plan import plan as planning
from ..plan.facts import Request
from ..plan.marker import marker
from ..plan.words import HOOKS_GATE, NETWORK_GATE, SCOPE_GATE, STATE_GATE
from ..settings import environ
from . import (
    admission,
    bundle,
    console,
    filters,
    identity,
    pidfd,
    placement,
    probe,
    process,
    scope,
    signals,
    unixsocket,
)
from .caller import absolute, owner
from .explain import explain
from .store import CONFIG, START, Container, Known, boot_id, now, remove_file, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from ..plan.plan import Plan
    from ..settings import Options, Settings
    from ..systemd.bus import Bus
    from .netdevices import Devices
    from .resctrl import Share
    from .service import Service

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
        self.stdio = (0, 1, 2)
        """what the container has for its standard streams"""
        self.master = -1
        """the terminal's other side, when it was not sent away"""
        self._bus: Bus | None = None
        self._start: socket | None = None
        self._namespaces: list[int] = []
        self._scope, self._pid_file, self._told = False, "", False
        self._init: Init | None = None
        self.devices: Devices | None = None
        """those of the host's network that the container has, as long as they may have to be brought back"""
        self._share: Share | None = None
        self.service: Service | None = None
        self._filter = -1
        """the program that decides on devices, where systemd does not do all of it"""

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
        self.bundle = bundle.read(options)
        self.config = self.bundle.config
        if environ("LISTEN_FDS") or environ("NOTIFY_SOCKET") or options.sockets:
            from .service import Service  # for who is run by one alone

            self.service = Service(self.config, options, self.wait_for_start)
        self.request = Request(
            id=options.id,
            bundle=self.bundle.path,
            config_path=self.bundle.config_path,
            state_dir=self.container.absolute(),
            manager=self.settings.manager,
            preserve_fds=options.preserve_fds + (self.service.passed.count if self.service else 0),
            no_pivot=options.no_pivot,
            new_keyring=not options.no_new_keyring,
            seccomp_receiver=environ("RUN_OCI_SECCOMP_RECEIVER"),
            properties=options.property,
            machine=options.machine,
            machine_annotation=self.settings.machine_annotation,
            wait_for_start=self.wait_for_start,
            attended=not (self.wait_for_start or options.detach),
            handover=self.service.handover(self.container.absolute()) if self.service else None,
            credentials=self.bundle.secrets.sizes() if self.bundle.secrets else None,
        )
        facts = probe.facts(self.config, self.bundle.path)
        if facts.in_user_namespace:
            from . import session  # for podman's users

            self.request.manager = session.manager(self.config, self.request.manager)
        program, flags = filters.program(self.config, self.settings.root)
        self.made: Plan = planning.make(self.config, facts, self.request, program, flags)

    def check(self) -> None:
        """Refuse what the host, rather than the config, does not allow. Raises Error."""
        if self.made.manager != "disabled":
            tree.require_unified()
        admission.cgroup(placement.own(self.made))
        admission.sysctls(self.config)
        admission.rootfs(self.made.rootfs)
        probe.check_devices(self.made.devices)
        if self.made.device_rules:
            from . import devices  # 6 ms of ctypes, where systemd does not do it for us

            self._filter = devices.load(self.made.device_rules)
        admission.descriptors(self.request.preserve_fds)
        if self.config.get("linux", {}).get("netDevices"):
            from .netdevices import Devices  # few containers have any

            self.devices = Devices(self.config)
        if asked := self.config.get("linux", {}).get("intelRdt"):
            from . import resctrl  # of large servers alone

            self._share = resctrl.Share(asked, self.options.id, resctrl.mount_point())
            self._share.check()
        admission.machine(self.made)
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
            raise self.undo(error) from None
        finally:
            if self._bus:
                # before anything waits for the workload: messages that pile up on an undrained connection made
                # systemd refuse later scopes
                self._bus.close()

    def _build(self) -> None:
        self.known = self._intent()
        if self.service:
            self.service.remember(self.known)
        self.container.write(self.known)
        self.container.write_file(CONFIG, self.bundle.text)
        if self.wait_for_start:
            self._start = unixsocket.gate(f"{self.container.path}/{START}")
        if self.service:
            self.service.open(self.container.path, self.known)
        given = [self._start.fileno()] if self._start else []
        if self.made.mappings:
            from . import idmaps  # for the few who map the ids of mounts

            self._namespaces = idmaps.namespaces(self.made.mappings)
        given += self._namespaces
        self._init = Init.spawn(encode(self.made.ops), self.request.preserve_fds, given, self.stdio)
        if self.service:
            self.service.given()
        if self.made.unit:
            # only now: it takes the bus as long to wake up as the init to make its namespaces
            self._bus = scope.connect()
        self._await_pid()
        self._place()
        if self._share:
            self._share.admit(self.init.pid)
        if self.made.machine:
            from . import machine  # of those alone who are to be listed

            machine.register(self.made.machine, self.known)
        self.init.let_through()
        self._await_state()

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
            cgroup=placement.own(self.made),
            lingers="CollectMode" in made.asked,
            boot_id=boot_id(),
            annotations=self.config.get("annotations") or {},
            seccomp_receiver=self.request.seccomp_receiver,
            hooks=hook_plan.kinds(self.config),
            keyring=self.request.new_keyring,
            journal=self.options.journal in ("events", "all"),
            resctrl=self._share.groups() if self._share else [],
            resctrl_made=self._share.own() if self._share else [],
            machine=made.machine.name if made.machine else "",
        )

    def _await_pid(self) -> None:
        expected = GATE if self.made.uid_map else PID
        reply = self.init.expect(expected, self.explain)
        if expected == GATE:
            from . import idmaps  # for user namespaces only

            if self._bus and idmaps.become_others(self.made.uid_map):
                self._start_scope(self._bus, self.init.first)
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
            if not self._scope:
                self._start_scope(self._bus, pid)
            unit_cgroup = tree.of_process(pid)
            if not unit_cgroup.endswith(f"/{self.made.unit}"):
                # systemd adopts a process that has just died, too; its cgroup is still the one it died in: ours
                raise self._last_words() or Died()
            # beside systemd's own program, and out of reach for who sees no more than the container's cgroup
            self._restrict_devices(unit_cgroup)
            known.cgroup = placement.below(unit_cgroup, self.made.placement.subgroup)
            placement.in_scope(unit_cgroup, known.cgroup, self.made, pid)
        elif known.cgroup:
            try:
                placement.make(known.cgroup, self.made)
            except Error as error:
                from . import session  # for users alone

                known.cgroup = session.without_cgroup(self.config, self.made, error)
                return
            placement.in_cgroupfs(known.cgroup, self.made, pid, self._restrict_devices)
        if known.cgroup:
            known.cgroup_inode = posix.stat(known.cgroup).st_ino

    def _start_scope(self, bus: Bus, pid: int) -> None:
        self._scope = True
        told = scope.with_pid(self.made.properties, pid)
        deadline, root = monotonic() + DEADLINE, self.settings.root
        try:
            scope.start(bus, self.made.unit, told, deadline, root, self.made.asked)
        except BusError as error:
            # a scope cannot stand without its process: if the init died, why it did is the better answer
            raise self._last_words() or error from None

    def _restrict_devices(self, cgroup: str) -> None:
        if self._filter >= 0:
            from . import devices

            devices.attach(cgroup, self._filter)

    def _last_words(self) -> Error | None:
        reply = self.init.last_words()
        return self.explain(reply) if reply else None

    def _await_state(self) -> None:
        """Take the init from the gate of the scope to that of the state, and with it what it has to tell."""
        self.init.expect(GATE, self.explain, SCOPE_GATE)
        if self.devices:
            self.devices.take(self.init.expect(GATE, self.explain, NETWORK_GATE).fd, self.known.pid)
            self.init.let_through()
        if self.bundle.secrets:
            self.bundle.secrets.deliver(self.init, self.explain)
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
            self.master = console.place(self.init.expect(CONSOLE, self.explain).fd, self.options.console_socket)

    def commit(self) -> None:
        """Write the state and let the container outlive us. Undoes everything when that fails."""
        try:
            self._commit()
        except BaseException as error:
            raise self.undo(error) from None

    def _commit(self) -> None:
        signals.interrupted()
        self.known.last_steps = self.made.last_steps() if self.config.get("process") else []
        self.container.write(self.known)
        receiver = self.options.pidfd_socket or self.known.annotations.get("run.oci.pidfd_receiver")
        if receiver:
            pidfd.send(receiver, self.known.pid)
        if self.options.pid_file:
            write_whole(absolute(self.options.pid_file), str(self.known.pid).encode(), 0o644)
            self._pid_file = absolute(self.options.pid_file)
        self.init.let_through()
        self.container.unlock()
        self.known.tell("created")
        self._told = True

    def explain(self, reply: Reply) -> Error:
        """Return the error for an op that failed."""
        return explain(reply, self.made.ops)

    # -- the way back

    def undo(self, cause: BaseException) -> BaseException:
        """Leave nothing behind, and return what the caller must hear: the cause. What cannot be undone is logged."""
        from . import oomkill  # of those alone that fail

        told = oomkill.blamed(cause, self._init.pid if self._init else 0, limits=self.made.limits)
        if self.devices:
            self.devices.give_back()
        if self._init:
            self.init.abandon()
        try:
            if self._share:
                self._share.undo()
            if self._scope:
                slow = isinstance(cause, BusError) and cause.name == "timeout"
                patience = scope.NOT_TWICE if slow else scope.CLEAR_DEADLINE
                scope.clear(self.made.unit, marker(self.request.state_dir), self.known.lingers, patience)
            if self.known.cgroup and not self.made.unit:
                tree.unmake(self.known.cgroup, monotonic() + 5)
        except Error as error:
            log.warning(f"while undoing: {error}")
        if self.known.machine:
            from . import machine

            machine.forget(self.known)
        if self._pid_file:
            remove_file(self._pid_file)
        if self.service:
            self.service.given()  # or a socket of ours would look alive to who removes it
        self.container.remove()
        if self._told:
            self.known.tell("deleted")
        if "poststop" in self.known.hooks:
            from . import hooks

            hooks.run_last(self.config, self.known, self.settings.root)
        return told

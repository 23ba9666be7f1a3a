"""`pyoci exec`: run one more program in a container."""

from __future__ import annotations

import _signal
import posix

from .. import jsonio, log
from ..errors import Error
from ..init.dialogue import CONSOLE
from ..plan import entry as planning
from ..plan import handover
from ..plan.facts import Handover
from ..settings import environ
from ..spec.kept import kept
from . import console, filters, identity, pidfd, probe, process
from .caller import absolute, document
from .entry import Entry, enter
from .foreground import Foreground
from .store import CONFIG, Container, remove_file, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.facts import Door
    from ..plan.ops import Op
    from ..settings import Options, Settings
    from ..spec.types import Config, Process, User


def main(settings: Settings, options: Options) -> int:
    """Run a program in a container. Returns its exit status, 0 at once with --detach; raises Error."""
    # ours, not the caller's, decides who may read what we write; the init has its own
    posix.umask(0o022)
    # a caller that ignores it would have the kernel reap our children before we do
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    execution = Execution(settings, options)
    master = execution.begin()
    if options.detach:
        return 0
    return Foreground(execution.pid, master, reap_orphans=False).wait()


class Execution:
    """One `exec` on its way."""

    def __init__(self, settings: Settings, options: Options) -> None:
        self.options = options
        self.root = settings.root
        self.container = Container(settings.root, identity.check(options.id))
        self.pid = 0
        self._frozen = False
        self._passed = 0
        """how many descriptors a service manager passed to us"""

    def begin(self) -> int:
        """Start the program. Returns the terminal's other side, -1 without one; raises Error."""
        options, known = self.options, self.container.known
        self._check_status()
        config = kept(jsonio.contents(f"{self.container.path}/{CONFIG}"), CONFIG)
        joining = asked(config, options)
        handed = self._handover()
        if handed:
            joining = handover.process(joining, handed)
        console.check(joining, options, options.detach)
        entry = enter(known, options.cgroup, lambda way: self._entry(joining, config, way, handed))
        self.pid = entry.init.pid
        try:
            return self._converse(entry, joining, planning.outside(joining, config))
        except BaseException as error:
            from . import oomkill  # of those alone that fail

            cause = oomkill.blamed(error, entry.init.pid)
            entry.init.abandon()
            raise cause from None

    def _entry(self, joining: Process, config: Config, way: Door, handed: Handover | None) -> Entry:
        """Start the init that goes this way. Raises Error."""
        known = self.container.known
        target = process.open_pidfd(known.pid, known.start_time)
        if target < 0:
            raise self._not_running()
        program, flags = filters.program(config, self.root)
        facts = probe.facts({**config, "process": joining})
        keyring = known.id if known.keyring else ""
        own_pid = handover.own_pid(joining, handed)
        ops, warnings = planning.plan(joining, config, facts, way, program, flags, keyring, own_pid)
        for text in warnings:
            log.warning(text)
        if log.wants("debug"):
            for op in [*ops, *planning.outside(joining, config)]:
                log.debug(op.describe())
        try:
            return Entry(ops, target, self.options.preserve_fds + self._passed)
        finally:
            posix.close(target)

    def _handover(self) -> Handover | None:
        """Return what a service manager handed over for the program, None when nothing. Raises Error."""
        if not environ("LISTEN_FDS"):
            return None
        from . import activation  # for who is run by a service manager alone

        passed = activation.passed()
        self._passed = passed.count
        return Handover(passed.variables(), passed.own_pid(), [])

    def _check_status(self) -> None:
        """Refuse a container in which nothing can run. Raises Error."""
        status = self.container.status()
        self._frozen = status == "paused"
        if self._frozen and not self.options.ignore_paused:
            text = f"cannot exec in `{self.container.id}`: container is paused"
            raise Error(text, hint="`resume` it first, or wait for that with `--ignore-paused`")
        if status not in ("created", "running", "paused"):
            raise self._not_running()

    def _not_running(self) -> Error:
        return Error(f"cannot exec in `{self.container.id}`: container not running")

    def _converse(self, entry: Entry, joining: Process, outside: list[Op]) -> int:
        """Take the process to its program. Returns the terminal's other side, -1 when we keep none; raises Error."""
        options, master = self.options, -1
        if self._frozen:
            entry.init.channel.settimeout(None)  # until somebody resumes it
        if joining.get("terminal"):
            master = console.place(entry.expect(CONSOLE).fd, options.console_socket)
        entry.ready()
        if groups := self.container.known.resctrl:
            from . import resctrl  # of large servers alone

            resctrl.enter(groups, self.pid)
        if outside:
            from . import errand  # for priorities and limits of containers with a user namespace alone

            errand.run(outside, self.pid)
        if options.pidfd_socket:
            pidfd.send(options.pidfd_socket, self.pid)
        # a signal ends the program together with us before this, and is passed on to it afterwards
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        if options.pid_file:
            # last, for its presence is what clients wait for
            write_whole(absolute(options.pid_file), str(self.pid).encode(), 0o644)
        try:
            entry.go(self.container)
        except BaseException:
            if options.pid_file:
                remove_file(absolute(options.pid_file))
            raise
        return master


def asked(config: Config, options: Options) -> Process:
    """Return the process that the command line asks for: the one of FILE, or the container's with changes.

    Raises Error.
    """
    if options.process:
        if options.command:
            raise Error("--process says what to run: no command can be given besides")
        from ..spec.load import load_process  # and with it the validator

        joining = load_process(*document(options.process))
    else:
        if not options.command:
            raise Error("nothing to run: name a command, or a file with `--process`")
        first = config.get("process") or {"cwd": "/", "args": []}
        joining = {**first, "args": options.command, "terminal": False}
    return changed(joining, options)


def changed(joining: Process, options: Options) -> Process:
    """Return the process with what the options change of it. Raises Error."""
    if options.cwd:
        if options.cwd[0] != "/":
            raise Error(f"--cwd: `{options.cwd}` is not absolute")
        joining["cwd"] = options.cwd
    if options.env:
        joining["env"] = merged(joining.get("env") or [], options.env)
    if options.user:
        joining["user"] = user(joining.get("user", {"uid": 0, "gid": 0}), options.user)
    if options.additional_gids:
        groups = [number(word, "--additional-gids") for text in options.additional_gids for word in text.split(",")]
        who = joining.get("user", {"uid": 0, "gid": 0})
        joining["user"] = {**who, "additionalGids": [*who.get("additionalGids", []), *groups]}
    if options.cap:
        names = [capability(word) for word in options.cap]
        # never inheritable or ambient: a program that drops to a user would get them back (CVE-2022-29162)
        joining["capabilities"] = {"bounding": names, "permitted": names, "effective": names}
    if options.no_new_privs:
        joining["noNewPrivileges"] = True
    if options.apparmor:
        joining["apparmorProfile"] = options.apparmor
    if options.process_label:
        joining["selinuxLabel"] = options.process_label
    if options.tty:
        joining["terminal"] = options.tty == "true"
    return joining


def merged(env: list[str], more: list[str]) -> list[str]:
    """Return an environment in which what `more` names has the value it gives. Raises Error."""
    for entry in more:
        if not entry.partition("=")[1] or entry[0] == "=":
            raise Error(f"--env: `{entry}` is not NAME=VALUE")
    names = {entry.partition("=")[0] for entry in more}
    return [entry for entry in env if entry.partition("=")[0] not in names] + more


def user(who: User, text: str) -> User:
    """Return the user that UID or UID:GID names. Raises Error.

    Numbers alone: a name is looked up by nobody, and `1000` may be a name in the image's passwd (CVE-2016-3697).
    """
    uid, colon, gid = text.partition(":")
    changed: User = {"uid": number(uid, "--user"), "gid": number(gid, "--user") if colon else who["gid"]}
    if "umask" in who:
        changed["umask"] = who["umask"]
    return changed


def number(word: str, option: str) -> int:
    """Return an id as strictly as can be: int() takes `+1`, ` 1`, `1_0` and foreign digits. Raises Error."""
    value = int(word) if word.isascii() and word.isdigit() and len(word) <= 10 else -1
    if not 0 <= value < (1 << 32) - 1:
        raise Error(f"{option}: `{word}` is not a number of 32 bits")
    return value


def capability(word: str) -> str:
    """Return the full name of a capability. Raises Error."""
    from ..plan.words import CAPABILITIES

    name = word.upper() if word.upper().startswith("CAP_") else f"CAP_{word.upper()}"
    if name not in CAPABILITIES:
        raise Error(f"--cap: unknown capability `{word}`")
    return name

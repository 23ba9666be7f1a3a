"""Boot a real systemd on a Debian tree: namespaces of its own, native speed, any root shell.

The machine stands on a throw-away overlay over a cached tree, in a cgroup of its own. Nothing of the host changes, and
`down` is one kill: mounts end with the namespace, processes with the cgroup. The network has only a loopback device.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from tests.machine import debian

HERE = pathlib.Path(__file__).resolve().parent
MACHINES = debian.CACHE / "machines"
KILL_SECONDS = 20.0
UNSHARE = "unshare --mount --pid --net --cgroup --uts --ipc --fork --propagation private".split()
NSENTER = "nsenter --mount --pid --net --cgroup --uts --ipc --root --wdns=/".split()
NOTHING: Mapping[str, str] = {}
HOST_SYSTEMD = pathlib.Path("/run/systemd/system")


class MachineError(Exception):
    """The machine could not be made, reached or ended."""


class Machine:
    """A machine by its name; what is known of it is in `directory`, so that any later process can reach it."""

    boot_seconds = 60.0

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = MACHINES / name
        self.log = self.directory / "log"

    def up(self, tree: pathlib.Path, binds: Sequence[str] = (), owner: int | None = None) -> None:
        """Boot `tree` and wait until its systemd has started everything.

        `binds` are SOURCE:TARGET. `owner` is the pid whose death makes the machine stale; None keeps it until `down`.
        """
        sweep()
        self.down()
        (self.directory / "mnt").mkdir(parents=True)
        if owner:
            (self.directory / "owner").write_text(str(owner))
        try:
            self._start(tree, binds)
            self._wait()
        except BaseException:
            self.down()
            raise

    def _start(self, tree: pathlib.Path, binds: Sequence[str]) -> None:
        """Start systemd as the first process of new namespaces, alone in the root of its cgroup namespace."""
        boot = ["sh", str(HERE / "boot.sh"), str(tree), str(self.directory / "mnt"), *binds]
        with open(self.log, "wb") as log:
            wrapper = subprocess.Popen(
                [*self._enclosed(), *UNSHARE, *boot],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert wrapper.stdin and wrapper.stdout
        with wrapper.stdin, wrapper.stdout:
            readable, _, _ = select.select([wrapper.stdout], [], [], self.boot_seconds)
            if not readable or wrapper.stdout.readline() != b"ready\n":
                raise MachineError(f"the machine did not start: {self.log.read_text()}")
            cgroup = cgroup_of(wrapper.pid)
            (self.directory / "cgroup").write_text(str(cgroup))
            children = pathlib.Path(f"/proc/{wrapper.pid}/task/{wrapper.pid}/children").read_text()
            (self.directory / "leader").write_text(children.split()[0])
            (cgroup_of(os.getpid()) / "cgroup.procs").write_text(str(wrapper.pid))
            wrapper.stdin.write(b"go\n")

    def _enclosed(self) -> list[str]:
        """Return the command prefix that puts what follows into a cgroup of the machine's own."""
        unit = f"pyoci-machine-{self.name}"
        if HOST_SYSTEMD.is_dir():
            # a cgroup made behind the back of the host's systemd would be without controllers, or swept away
            return ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={unit}", "--property=Delegate=yes", "--"]
        cgroup = cgroup_root() / unit
        (self.directory / "cgroup").write_text(str(cgroup))
        cgroup.mkdir(exist_ok=True)
        return ["sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', str(cgroup)]

    def _wait(self) -> None:
        """Wait until the machine's systemd says that it has finished to start."""
        deadline = time.monotonic() + self.boot_seconds
        state = ""
        while time.monotonic() < deadline:
            asked = subprocess.run(self._enter("systemctl", "is-system-running"), capture_output=True, text=True)
            state = asked.stdout.strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.02)
        raise MachineError(f"the machine is not up ({state or 'no answer'}): {self.log.read_text()}")

    def _enter(self, *command: str, terminal: bool = False) -> list[str]:
        """Return `command` run in the machine's namespaces, though not in one of its cgroups: only to ask systemd.

        A `terminal` is the one that we have, and needs nothing.
        """
        try:
            leader = (self.directory / "leader").read_text()
        except FileNotFoundError:
            raise MachineError(f"no machine `{self.name}`") from None
        return [*NSENTER, f"--target={leader}", *command]

    def command(self, command: Sequence[str], env: Mapping[str, str] = NOTHING, *, terminal: bool = False) -> list[str]:
        """Return what runs `command` inside, as a service with a delegated cgroup, and hands on its exit status."""
        service = ["systemd-run", "--quiet", "--wait", "--collect", "--pty" if terminal else "--pipe"]
        service += ["--service-type=exec", "--property=Delegate=yes", "--property=LimitNOFILE=65536"]
        service += ["--property=OOMPolicy=continue", "--setenv=HOME=/root", "--setenv=LANG=C.UTF-8"]
        service += [f"--setenv={name}={value}" for name, value in env.items()]
        # the service manager expands $NAME in arguments, and before systemd 254 it cannot be told not to
        return self._enter(*service, "--", *(argument.replace("$", "$$") for argument in command), terminal=terminal)

    def run(self, *command: str, env: Mapping[str, str] = NOTHING, timeout: float = 600.0) -> int:
        """Run `command` inside with our stdin, stdout and stderr; return its exit status."""
        # systemd-run before 254 gives up when systemd re-executes itself, as tests make it do. The command runs on,
        # and so do its pipes: what it ends with is read from a file.
        note = f"/run/machine-run-{secrets.token_hex(4)}"
        noting = ["sh", "-c", 'echo $$ >"$0.pid"; "$@"; echo $? >"$0.new"; mv "$0.new" "$0"', note, *command]
        deadline = time.monotonic() + timeout
        given_up = subprocess.run(self.command(noting, env), timeout=timeout).returncode
        root = pathlib.Path("/proc", (self.directory / "leader").read_text(), "root")
        status, pid = root / note[1:], root / f"{note[1:]}.pid"
        if not pid.exists():
            return given_up
        process = root / "proc" / pid.read_text().strip()
        while process.exists() and not status.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return int(status.read_text()) if status.exists() else given_up or 1

    def shell(self) -> int:
        """Give the person at our terminal a shell inside; return its exit status."""
        environment = {"TERM": os.environ.get("TERM", "linux")}
        return subprocess.run(self.command(["bash", "-l"], environment, terminal=True)).returncode

    def down(self) -> None:
        """End the machine, however far it got, and leave nothing of it; fine when there is none."""
        with contextlib.suppress(FileNotFoundError):
            remove_cgroup(pathlib.Path((self.directory / "cgroup").read_text()))
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def booted(machine: Machine, suite: str, binds: Sequence[str] = ()) -> Iterator[Machine]:
    """Have `machine` up for as long as the block takes; if we are killed in it, the next boot clears it away."""
    machine.up(debian.tree(suite), binds, owner=os.getpid())
    try:
        yield machine
    finally:
        machine.down()


def sweep() -> None:
    """End the machines whose owner is dead."""
    for directory in MACHINES.glob("*"):
        with contextlib.suppress(FileNotFoundError):
            if not pathlib.Path("/proc", (directory / "owner").read_text()).exists():
                Machine(directory.name).down()


def cgroup_root() -> pathlib.Path:
    """Return where cgroup version 2 is mounted: /sys/fs/cgroup, or below it on a hybrid host."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, filesystem = line.partition(" - ")
        if filesystem.startswith("cgroup2 "):
            return pathlib.Path(fields.split()[4])
    raise MachineError("no cgroup version 2 hierarchy is mounted")


def cgroup_of(pid: int) -> pathlib.Path:
    """Return the version 2 cgroup of a process, as a path we can write to."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return cgroup_root() / line[3:].removeprefix("/")
    raise MachineError(f"process {pid} is in no version 2 cgroup")


def remove_cgroup(cgroup: pathlib.Path) -> None:
    """Kill everything at and below `cgroup` and remove it."""
    with contextlib.suppress(OSError):  # gone, or going
        (cgroup / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + KILL_SECONDS
    while cgroup.is_dir():
        # by names relative to the directory above: tests nest cgroups deeper than a path may be long; and again and
        # again, for each is busy until its last process is reaped
        find = ["find", str(cgroup), "-depth", "-type", "d", "-execdir", "rmdir", "--", "{}", ";"]
        subprocess.run(find, stderr=subprocess.DEVNULL, timeout=KILL_SECONDS)
        if time.monotonic() > deadline:
            raise MachineError(f"the processes of `{cgroup}` do not die")
        time.sleep(0.01)


def main() -> int:
    """Be the command: tree, up, run, shell, down, list."""
    parser = argparse.ArgumentParser(prog="machine", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("tree", help="make the tree of a suite and print where it is").add_argument("suite")
    up = verbs.add_parser("up", help="boot a machine")
    up.add_argument("name")
    up.add_argument("--suite", default="trixie", help="trixie (default) or bookworm")
    up.add_argument("--tree", type=pathlib.Path, help="boot this tree instead")
    up.add_argument("--bind", action="append", default=[], metavar="SOURCE:TARGET")
    for verb, text in (("run", "run a command inside"), ("shell", "get a shell inside"), ("down", "end a machine")):
        verbs.add_parser(verb, help=text).add_argument("name")
    verbs.choices["run"].add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("list", help="list the machines")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an ended boot clears up as an interrupted one does
    try:
        return act(options)
    except (MachineError, subprocess.CalledProcessError) as error:
        print(f"machine: {error}", file=sys.stderr)
        return 1


def act(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    if options.verb == "tree":
        print(debian.tree(options.suite))
    elif options.verb == "list":
        print("\n".join(sorted(directory.name for directory in MACHINES.glob("*"))))
    elif options.verb == "up":
        Machine(options.name).up(options.tree or debian.tree(options.suite), options.bind)
    elif options.verb == "down":
        Machine(options.name).down()
    elif options.verb == "run":
        command = options.command[1:] if options.command[:1] == ["--"] else options.command
        return Machine(options.name).run(*command)
    elif options.verb == "shell":
        return Machine(options.name).shell()
    return 0


if __name__ == "__main__":
    sys.exit(main())

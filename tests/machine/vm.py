"""Boot a real systemd on a Debian tree in a virtual machine, for what namespaces cannot give: a kernel of its own.

It has every cgroup controller, AppArmor and all capabilities, and is driven like any `Machine`. QEMU translates the
processor's instructions, for many hosts have no KVM or one that hangs: Python is some 10 times slower inside than
outside. So the machine is booted once; what its memory held when it was up and idle is kept beside the tree, and the
next one goes on from there. The directories of the host come in by 9p after that, because a 9p mount cannot be saved.
With QEMU everything ends: the disk is never written, the network is a namespace of its own.

Measured on two cores with other work on them, mostly once: 15 s to make the disk, 35 s to boot and save, 3 s to resume
(from 260 MB), 1 s for a command. To look for tests in all files takes 46 s, natively 4 s; to byte-compile an
installation 31 s, outside 1 s. A test that needs this machine takes some 10 s. Python and fork(2) were 10 to 20 % slower
with AVX (`-cpu max`) than without.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.machine import debian
from tests.machine.machine import HERE, NOTHING, Machine, MachineError, cgroup_of

HOST_PACKAGES = "cpio e2fsprogs iproute2 openssh-client qemu-system-x86 util-linux xz-utils".split()
MEMORY = 2048  # MiB
PROCESSORS = 2
QEMU = f"""
    qemu-system-x86_64 -accel tcg,thread=multi -cpu Nehalem -smp {PROCESSORS} -m {MEMORY} -machine pc,graphics=off,hpet=off
    -nodefaults -no-user-config -display none -device virtio-rng-pci
    -netdev user,id=door,restrict=on,hostfwd=tcp:127.0.0.1:22-:22 -device virtio-net-pci,netdev=door,romfile=
""".split()
KERNEL_OPTIONS = """
    console=ttyS0 quiet panic=1 mitigations=off net.ifnames=0 systemd.getty_auto=no systemd.show_status=no
""".split()
# one connection for all: to make one takes a second of the machine, and much longer while the host is busy
SSH = """
    ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=60 -o LogLevel=ERROR -o StrictHostKeyChecking=no
    -o UserKnownHostsFile=/dev/null -o ServerAliveInterval=60 -o ServerAliveCountMax=10
    -o ControlMaster=auto -o ControlPersist=yes
""".split()


# what most runs read is in memory when it is saved
WARM = "python3 -m pytest --version; podman --version; systemd-run --wait --pipe true"


class VM(Machine):
    """A virtual machine by its name."""

    boot_seconds = 300.0

    def _start(self, tree: pathlib.Path, binds: Sequence[str]) -> None:
        """Start QEMU: from the saved state of a booted machine if there is one of use, else by booting."""
        self.made = made(tree)
        self.binds = binds
        self.state = self.made / f"state-{digest(*QEMU, *KERNEL_OPTIONS, WARM, str(len(binds)), version())}"
        self.resumed = self.state.exists() and self._resume()
        if not self.resumed:
            self._launch()

    def _resume(self) -> bool:
        """Start QEMU from the saved state; return False, without the state, if it is of no use."""
        deadline = time.monotonic() + self.boot_seconds
        try:
            self._launch("-incoming", f"exec:cat {shlex.quote(str(self.state))}")
            while self.monitor.ask("query-status")["status"] == "inmigrate" and time.monotonic() < deadline:
                time.sleep(0.02)
        except MachineError as error:
            print(f"the saved machine is of no use: {error}", file=sys.stderr)
            self.process.kill()
            self.process.wait()
            self.state.unlink(missing_ok=True)
            (self.directory / "qmp").unlink(missing_ok=True)
            return False
        return True

    def _launch(self, *options: str) -> None:
        """Start QEMU in a cgroup and a network of its own; if we are its owner, it dies with us."""
        disk = f"file={self.made}/disk,if=virtio,format=raw,readonly=on"
        command = [*QEMU, "-kernel", f"{self.made}/kernel", "-initrd", f"{self.made}/initrd", "-drive", disk]
        command += ["-append", " ".join(KERNEL_OPTIONS), "-serial", f"file:{self.directory}/console"]
        command += ["-qmp", f"unix:{self.directory}/qmp,server=on,wait=off", *options]
        for number, bind in enumerate(self.binds):
            share = f"local,path={bind.partition(':')[0]},security_model=passthrough,multidevs=remap"
            command += ["-virtfs", f"{share},mount_tag=share{number}"]
        dies = ["setpriv", "--pdeathsig", "KILL"] if (self.directory / "owner").exists() else []
        network = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*self._enclosed(), *network, *dies, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.directory / "leader").write_text(str(self.process.pid))
        self.monitor = Monitor(self.directory / "qmp", self.process)
        (self.directory / "cgroup").write_text(str(cgroup_of(self.process.pid)))

    def _wait(self) -> None:
        """Wait until it is up, save it if it has booted, and give it what cannot be saved: the time and the shares."""
        try:
            super()._wait()
        except MachineError as error:
            raise MachineError(f"{error}{(self.directory / 'console').read_text(errors='replace')}") from None
        if not self.resumed:
            self._save()
        script = ["set -e", f"date --set=@{time.time():.3f} >/dev/null"]
        for number, target in enumerate(bind.partition(":")[2] for bind in self.binds):
            options = "trans=virtio,version=9p2000.L,msize=512000,cache=mmap"
            script += [f"mkdir -p {target}", f"mount -t 9p -o {options} share{number} {target}"]
        subprocess.run(self._enter("sh", "-c", "\n".join(script)), check=True, timeout=self.boot_seconds)

    def _save(self) -> None:
        """Keep the state of the machine, and go on."""
        subprocess.run(self._enter("sh", "-c", WARM), capture_output=True, timeout=self.boot_seconds)
        half = self.directory / "state"
        self.monitor.ask("migrate", uri=f"exec:cat >{shlex.quote(str(half))}")
        deadline = time.monotonic() + self.boot_seconds
        while (status := self.monitor.ask("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > deadline:
                raise MachineError(f"saving the machine: {status}")
            time.sleep(0.05)
        for old in self.made.glob("state-*"):
            old.unlink()
        half.rename(self.state)
        self.monitor.ask("cont")

    def _enter(self, *command: str, terminal: bool = False) -> list[str]:
        """Return `command` run in the machine, by its door: not in a cgroup of systemd's making, only to ask it."""
        try:
            leader = (self.directory / "leader").read_text()
        except FileNotFoundError:
            raise MachineError(f"no machine `{self.name}`") from None
        key, shared = ["-i", str(self.made / "key")], ["-o", f"ControlPath={self.directory}/door"]
        door = [*SSH, *key, *shared, "-t" if terminal else "-T", "root@127.0.0.1"]
        return ["nsenter", "--net", f"--target={leader}", *door, shlex.join(command)]

    def run(self, *command: str, env: Mapping[str, str] = NOTHING, timeout: float = 600.0) -> int:
        """Run `command` inside with our stdin, stdout and stderr; return its exit status."""
        return subprocess.run(self.command(command, env), timeout=timeout).returncode


class Monitor:
    """QEMU's own ear, a socket: a command and its answer are a line of JSON each."""

    def __init__(self, path: pathlib.Path, process: subprocess.Popen[bytes]) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                connection.connect(str(path))
                break
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise MachineError(f"QEMU did not start: {(path.parent / 'log').read_text()}")
            time.sleep(0.01)
        self.lines = connection.makefile("rw")
        self.lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Give a command and return the answer; what happens meanwhile is told in between, and skipped."""
        with contextlib.suppress(ConnectionError):
            print(json.dumps({"execute": command, "arguments": arguments}), file=self.lines, flush=True)
            while line := self.lines.readline():
                answer = json.loads(line)
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise MachineError(f"QEMU: {command}: {answer['error']['desc']}")
        raise MachineError(f"QEMU ended before it answered `{command}`")


def made(tree: pathlib.Path) -> pathlib.Path:
    """Return the directory of kernel, initrd and disk made of `tree`, making it when the cache has none."""
    finished = (
        debian.CACHE / f"vm-{digest(tree.name, *(path.read_text() for path in (HERE / 'vm_disk.sh', HERE / 'masked')))}"
    )
    if finished.is_dir():
        return finished
    debian.ensure_host_packages(HOST_PACKAGES)
    with open(debian.CACHE / "lock-vm", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs that both find none: one makes it, the other waits
        if not finished.is_dir():
            half = finished.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(mode=0o700)  # the key to the machine's door is in it
            print(f"making the disk of the virtual machine (once; kept in `{debian.CACHE}`)", flush=True)
            script = ["sh", str(HERE / "vm_disk.sh"), str(tree), str(half)]
            subprocess.run(["unshare", "--mount", "--propagation", "private", *script], check=True, timeout=900)
            half.rename(finished)
    return finished


def version() -> str:
    """Return which QEMU there is: what one has saved, another may not understand."""
    return subprocess.run([QEMU[0], "--version"], capture_output=True, text=True, check=True).stdout


def digest(*parts: str) -> str:
    """Return a name for what was made of `parts`."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

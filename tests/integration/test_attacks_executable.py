"""A container that reaches for the program that made it: CVE-2019-5736, CVE-2016-9962 (/proc/PID/{exe,fd,mem}).

Seen red:
    what a container reaches is no file of the host     the init started from its file instead of from a sealed memfd
    a writer holds the init of another container        the same: pyoci-init was overwritten; with crun 1.21 not
    a waiting init cannot be looked into                the init left dumpable
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.attack_scene import checksums, installed, lean
from tests.integration.conftest import Bundle, Run

Wait = Callable[..., Any]
QUICK = "--cgroup-manager=disabled"


@pytest.fixture(autouse=True)
def executables_stay(runtime: str) -> Iterator[None]:
    """Fail a test after which an executable of the runtime is another."""
    before = checksums(runtime)
    yield
    assert checksums(runtime) == before


def pid_of(run: Run, container: str) -> int:
    pid: int = json.loads(run("state", container, check=True).stdout)["pid"]
    return pid


def namespace(bundle: Bundle, kind: str, path: str | None) -> None:
    """Let the container have the runtime's own namespace of a kind (None), or the one at `path`."""
    others = [entry for entry in bundle.config["linux"]["namespaces"] if entry["type"] != kind]
    bundle.config["linux"]["namespaces"] = [*others, {"type": kind, "path": path}] if path else others


def with_capabilities(bundle: Bundle, *names: str) -> None:
    bundle.config["process"]["capabilities"] = {key: [*names] for key in ("bounding", "permitted", "effective")}


# The name, and what the root filesystem must hold for it: a symlink to a target, or a script with a first line.
SELF = {
    "itself": (["/proc/self/exe"], None, None),
    "itself with the init's arguments": (["/proc/self/exe", "0", "0"], None, None),
    "a link": (["/bin/self", "0", "0"], "/proc/self/exe", None),
    "a script": (["/bin/self"], None, "#!/proc/self/exe 0\n"),
    "a script with an evil interpreter": (["/bin/self"], None, "#!/bin/evil\n"),
}


@pytest.mark.parametrize(("args", "link", "script"), SELF.values(), ids=SELF)
def test_what_a_container_reaches_is_no_file_of_the_host(
    runtime: str, bundle: Bundle, container_id: str, args: list[str], link: str | None, script: str | None
) -> None:
    lean(bundle).args(*args)
    with_capabilities(bundle, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    bundle.write()
    if link:
        (bundle.rootfs / "bin/self").symlink_to(link)
        (bundle.rootfs / "bin/evil").symlink_to(link)
    if script:
        (bundle.rootfs / "bin/evil").symlink_to("/proc/self/exe")
        (bundle.rootfs / "bin/self").write_text(script)
        (bundle.rootfs / "bin/self").chmod(0o755)
    host = {(found.st_dev, found.st_ino) for found in (path.stat() for path in installed(runtime))}
    pid_file = bundle.path / "pid"
    command: list[Any] = [runtime, QUICK, "run", "--pid-file", pid_file, "--bundle", bundle.path, container_id]
    silent = subprocess.DEVNULL
    ours, theirs = socket.socketpair()  # on it the init, as the container's program, waits for its ops
    with subprocess.Popen(command, stdin=theirs.fileno(), stdout=silent, stderr=silent) as process:
        theirs.close()
        try:
            deadline = time.monotonic() + 5
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(OSError, ValueError):  # there is no file yet, or the program has ended
                    found = os.stat(f"/proc/{int(pid_file.read_text())}/exe")
                    assert (found.st_dev, found.st_ino) not in host
                    deadline = min(deadline, time.monotonic() + 0.2)
        finally:
            ours.close()  # which ends the program
            process.wait(5)


# What the attacker's shell does: take hold of the init's executable while it waits, and write to it once it may.
WRITER = """
exec 9</proc/{pid}/exe || exit 1
touch /tmp/holds
n=0
while [ $n -lt 20000 ]; do
    for way in /proc/self/fd/9 /proc/{pid}/exe; do
        {{ echo '#!/bin/false' >$way; }} 2>/dev/null && touch /tmp/wrote
        {{ echo '#!/bin/false' >>$way; }} 2>/dev/null && touch /tmp/wrote
    done
    [ -e /tmp/started ] && n=$((n + 1000))
    n=$((n + 1))
done
touch /tmp/over
"""


@pytest.mark.parametrize("place", ["the host's pid namespace", "the victim's pid namespace"])
def test_a_writer_holds_the_init_of_another_container(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, wait_until: Wait, place: str
) -> None:
    lean(bundle).args("sleep", "1000")
    victim, attacker = container_id, f"{container_id}-attacker"
    evil = Bundle(tmp_path / "evil", json.loads(json.dumps(bundle.config)))
    shutil.copytree(bundle.path, evil.path, symlinks=True)
    run(QUICK, "create", "--bundle", bundle.path, victim, check=True)
    try:
        pid = pid_of(run, victim)
        host = place.startswith("the host")
        namespace(evil, "pid", None if host else f"/proc/{pid}/ns/pid")
        with_capabilities(evil, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
        evil.sh(WRITER.format(pid=pid if host else 1))
        run(QUICK, "run", "--detach", "--bundle", evil.path, attacker, check=True)
        wait_until((evil.rootfs / "tmp/holds").exists, "the attacker to hold the init's executable")
        run("start", victim, check=True)
        (evil.rootfs / "tmp/started").touch()
        wait_until((evil.rootfs / "tmp/over").exists, "the attacker to give up", 10)
    finally:
        run("delete", "--force", attacker)
        run("delete", "--force", victim)


LOOKS = {
    "exe": "readlink /proc/1/exe",
    "executable": "head -c 1 /proc/1/exe",
    # root may list the numbers: the kernel looks at no more than the owner of the directory
    "what descriptors are": "readlink /proc/1/fd/*",
    "descriptors": "cat </proc/1/fd/0 || cat </proc/1/fd/1 || cat </proc/1/fd/2",
    "memory": "dd if=/proc/1/mem of=/dev/null bs=1 count=1 skip=4194304",
    "maps": "head -n 1 /proc/1/maps | grep .",
    "environment": "cat /proc/1/environ | grep .",
    "root": "ls /proc/1/root/",
    "working directory": "ls /proc/1/cwd/",
}


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_waiting_init_cannot_be_looked_into(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, uid: int
) -> None:
    lean(bundle).args("true")
    bundle.config["process"]["user"] = {"uid": uid, "gid": uid}
    bundle.write()
    looker = Bundle(tmp_path / "looker", json.loads(json.dumps(bundle.config)))
    shutil.copytree(bundle.path, looker.path, symlinks=True)
    run(QUICK, "create", "--bundle", bundle.path, container_id, check=True)
    namespace(looker, "pid", f"/proc/{pid_of(run, container_id)}/ns/pid")
    # that it looks at the right process is known by its name, which anybody may see
    looks = [f"{{ {look}; }} >/dev/null 2>&1 && echo '{name}'" for name, look in LOOKS.items()]
    looker.sh("\n".join(["cat /proc/1/comm", *looks, "true"]))
    seen = run(QUICK, "run", "--bundle", looker.path, f"{container_id}-looker", check=True).stdout.splitlines()
    assert seen[1:] == []
    assert seen[0] in ("pyoci-init", "crun", "3", "runc:[2:INIT]")

"""`exec` as an attacker in the container sees it, and what waits for it there.

CVE-2016-9962, CVE-2019-5736, CVE-2024-21626, CVE-2022-29162, CVE-2016-3697 and CVE-2026-30892.

Seen red:
    nobody looks into what enters                    the init left dumpable
    who may trace finds no file of the host's        the init started from its file instead of from a sealed memfd
    no way to the host's cgroups stays open          the cgroup not closed after the clone
    a program that is the init                       the init started from its file
    no descriptor is a working directory             where it leads not looked at after the chdir, nothing leaked closed
    a user is a number                               int() of what was given
    nothing is inheritable                           what --cap names made inheritable too
    traps in passwd                                  an uid read by strtoul() alone
    names change places                              as for the working directory: after 99 tries

Some defences were left out together. Of these not all was red: a program that is the init (a link and an interpreter
were, the init itself and a script were not), traps in passwd (only an uid that is nearly one), a user is a number (not
-1 and what is over 32 bits). Never yet: only stdio and what is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyoci_systemd.init.wire import encode
from pyoci_systemd.plan import ops
from tests.integration.attack_play import Joiner, init_of
from tests.integration.attack_scene import (
    Swapper,
    assert_refused,
    checksums,
    installed,
    leaking,
    lean,
    replace,
    tries,
)
from tests.integration.conftest import Bundle, Run
from tests.unit.player import PID, Player, reap

Wait = Callable[..., Any]
QUICK = "--cgroup-manager=disabled"


@pytest.fixture(autouse=True)
def executables_stay(runtime: str) -> Iterator[None]:
    """Fail a test after which an executable of the runtime is another."""
    before = checksums(runtime)
    yield
    assert checksums(runtime) == before


@pytest.fixture
def victim(bundle: Bundle) -> Bundle:
    """Return a bundle that sleeps, with a root filesystem that can be written."""
    return lean(bundle).args("sleep", "1000")


def begin(run: Run, bundle: Bundle, name: str, *, manager: str = QUICK) -> None:
    run(manager, "run", "--detach", "--bundle", bundle.write().path, name, check=True)


def with_capabilities(bundle: Bundle, *names: str) -> None:
    bundle.config["process"]["capabilities"] = {key: [*names] for key in ("bounding", "permitted", "effective")}


# What an attacker's shell does, over and over: look at every process but the first and its own. What it got counts if
# the process still has its name afterwards: the program, which may be looked at, has another.
SCANNER = r"""
look() {
    got=$("$@" 2>/dev/null) && [ "$got" ] && read -r again <$process/comm && [ "$again" = "$name" ] && echo "$got"
}
: >/tmp/ready
while [ ! -e /tmp/over ]; do
    for process in /proc/[0-9]*; do
        read -r name <$process/comm || continue
        case "$process $name" in "/proc/1 "*|*" true"|*" busybox"|*" sh") continue;; esac
        echo "$name" >/tmp/met
        look readlink $process/exe
        for fd in $process/fd/*; do look readlink $fd; done
        look head -c 1 $process/environ
        look dd if=$process/mem bs=1 count=1 skip=4194304
        look head -n 1 $process/maps
        look ls -d $process/root//
        look ls -d $process/cwd/.
    done >>/tmp/hits
done 2>/dev/null
"""


@pytest.fixture
def scanned(run: Run, victim: Bundle, container_id: str, wait_until: Wait) -> Callable[[int], list[str]]:
    """Return what has programs run in a container that scans, and says what it has got."""

    def scan(times: int) -> list[str]:
        begin(run, victim.sh(SCANNER), container_id, manager="--cgroup-manager=systemd")
        wait_until((victim.rootfs / "tmp/ready").exists, "the scanner")
        for _ in tries(times):
            run("exec", container_id, "true", check=True)
        (victim.rootfs / "tmp/over").touch()
        assert (victim.rootfs / "tmp/met").exists(), "the scanner met nobody"
        return (victim.rootfs / "tmp/hits").read_text().splitlines()

    return scan


def test_nobody_looks_into_what_enters(scanned: Callable[[int], list[str]]) -> None:
    assert scanned(200) == []


def test_who_may_trace_finds_no_file_of_the_hosts(
    scanned: Callable[[int], list[str]], runtime: str, victim: Bundle
) -> None:
    """With CAP_SYS_PTRACE it can look: there is a sealed copy of the init, and nothing of the runtime's."""
    with_capabilities(victim, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    hits = scanned(60)
    assert "/memfd:pyoci-init (deleted)" in hits
    assert not {str(path) for path in installed(runtime)} & {*hits}
    assert not any(line.startswith(("/run", "/usr", "/var", "/src")) for line in hits)


def test_no_way_to_the_hosts_cgroups_stays_open(runtime: str) -> None:
    """Who may trace what enters must not find the directory of the cgroup that it was born in (CVE-2024-21626)."""
    own = pathlib.Path("/proc/self/cgroup").read_text().strip().rpartition("0::")[2]
    message = encode([ops.OpenCgroup(f"/sys/fs/cgroup{own}"), ops.Clone(0, 0), ops.Await(1)])
    player = Player(message, wrap=("/usr/bin/env",), program=init_of(runtime))
    replies = [player.receive(), player.receive()]
    [pid] = [reply.value for reply in replies if reply and reply.kind == PID]
    held = [os.readlink(path) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
    os.kill(pid, signal.SIGKILL)
    reap(pid)
    player.end()
    assert len(held) > 3
    assert not [path for path in held if "cgroup" in path]


# -- what runs instead of the program


SELF = {
    "itself": (["/proc/self/exe"], None, None),
    "itself with the init's arguments": (["/proc/self/exe", "0", "0"], None, None),
    "a link": (["/bin/self", "0", "0"], "/proc/self/exe", None),
    "a script": (["/bin/self"], None, "#!/proc/self/exe 0\n"),
    "a script with an evil interpreter": (["/bin/self"], None, "#!/bin/evil\n"),
}


@pytest.mark.parametrize(("args", "link", "script"), SELF.values(), ids=SELF)
def test_a_program_that_is_the_init(
    run: Run, runtime: str, victim: Bundle, container_id: str, args: list[str], link: str | None, script: str | None
) -> None:
    """The init in the container's hands is a copy that ends at once."""
    with_capabilities(victim, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    if link:
        replace(victim.rootfs / "bin/self", link)
    if script:
        replace(victim.rootfs / "bin/evil", "/proc/self/exe")
        (victim.rootfs / "bin/self").write_text(script)
        (victim.rootfs / "bin/self").chmod(0o755)
    begin(run, victim, container_id)
    host = {(found.st_dev, found.st_ino) for found in (path.stat() for path in installed(runtime))}
    pid_file = victim.path / "exec.pid"
    command: list[Any] = [runtime, "exec", "--pid-file", pid_file, container_id, *args]
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=silent, stderr=silent) as process:
        deadline = time.monotonic() + 0.3
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):  # there is no file yet, or the program has ended
                found = os.stat(f"/proc/{int(pid_file.read_text())}/exe")
                assert (found.st_dev, found.st_ino) not in host
        process.communicate(timeout=5)
    assert process.returncode


# -- what `exec` brings along


@pytest.mark.parametrize("way", ["/proc/self/fd/{}", "/way/{}", "/way/{}/.", "/proc/thread-self/fd/{}"])
def test_no_descriptor_is_a_working_directory(
    run: Run, runtime: str, victim: Bundle, container_id: str, tmp_path: pathlib.Path, way: str
) -> None:
    replace(victim.rootfs / "way", "/proc/self/fd")
    begin(run, victim, container_id, manager="--cgroup-manager=systemd")
    for number in range(3, 20):
        command: list[Any] = [runtime, "exec", "--cwd", way.format(number), container_id, "stat", "-c", "%i", "."]
        words = leaking(*command, source=tmp_path, first=3, last=30)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
        # there may be a descriptor of the container's own root
        assert done.returncode or int(done.stdout) == victim.rootfs.stat().st_ino, done


def test_only_stdio_and_what_is_kept(
    run: Run, runtime: str, victim: Bundle, container_id: str, tmp_path: pathlib.Path
) -> None:
    begin(run, victim, container_id)
    command: list[Any] = [runtime, "exec", container_id, "sh", "-c", "ls /proc/$$/fd; true"]
    for kept in (0, 2):
        words = leaking(*command[:2], "--preserve-fds", str(kept), *command[2:], source=tmp_path, first=3, last=100)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
        assert (done.stdout.split(), done.stderr) == ([str(number) for number in range(3 + kept)], "")


@pytest.mark.parametrize(("text", "uid", "gid"), [
    ("1", 1, 0), ("1:2", 1, 2), ("0", 0, 0), ("4294967294:4294967294", 4294967294, 4294967294),
    *((bad, -1, -1) for bad in (
        "+1", " 1", "1 ", "1_0", "１", "-1", "4294967295", "4294967296", "1:", ":1", ":", "1:2:3", "0x1", "1e0", "1.0", "root",
        "root:root", "1:root", "1\n", "1:+2", "99999999999", "²", "٣",
    )),
])  # fmt: skip
def test_a_user_is_a_number(run: Run, victim: Bundle, container_id: str, text: str, uid: int, gid: int) -> None:
    # what the image says of names that are numbers is asked by nobody
    passwd = "".join(f"{name}:x:0:0:evil:/evil:/bin/sh\n" for name in ("1", "+1", "1_0", "-1", "root", "4294967294"))
    (victim.rootfs / "etc/passwd").write_text(passwd)
    (victim.rootfs / "etc/group").write_text("2:x:0:1\nroot:x:0:1\n")
    begin(run, victim, container_id)
    done = run("exec", "--user", text, container_id, "grep", "-E", "^(Uid|Gid|Groups):", "/proc/self/status")
    if uid < 0:
        assert_refused(done, "--user")
    else:
        found = {line.split()[0]: [int(number) for number in line.split()[1:]] for line in done.stdout.splitlines()}
        assert found == {"Uid:": 4 * [uid], "Gid:": 4 * [gid], "Groups:": []}


@pytest.mark.parametrize("user", ["0", "1000"])
@pytest.mark.parametrize("options", [[], ["--cap", "CAP_NET_RAW"], ["--cap", "CAP_SYS_ADMIN", "--cap", "CAP_CHOWN"]])
def test_nothing_is_inheritable(run: Run, victim: Bundle, container_id: str, options: list[str], user: str) -> None:
    begin(run, victim, container_id)
    done = run("exec", "--user", user, *options, container_id, "cat", "/proc/self/status", check=True)
    sets = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if line.startswith("Cap"))
    assert (int(sets["CapInh"], 16), int(sets["CapAmb"], 16)) == (0, 0)
    assert int(sets["CapEff"], 16) == (int(sets["CapBnd"], 16) if user == "0" else 0)


# -- what the image puts where `exec` looks

TRAPS: dict[str, Callable[[pathlib.Path], object]] = {
    "fifo": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "a link to a descriptor": lambda path: path.symlink_to("/proc/self/fd/3"),
    "a link to memory": lambda path: path.symlink_to("/proc/self/mem"),
    "a link to itself": lambda path: path.symlink_to("passwd"),
    "a link to the kernel's messages": lambda path: path.symlink_to("/proc/kmsg"),
    "a device without an end": lambda path: os.mknod(path, 0o20666, os.makedev(1, 5)),
    "the terminal": lambda path: os.mknod(path, 0o20666, os.makedev(5, 0)),
    "a hole of 16 GiB": lambda path: path.open("w").truncate(1 << 34),
    "one line without an end": lambda path: path.write_text("x" * 1_000_000),
    "no bytes of text": lambda path: path.write_bytes(b"\0:\xff:0:0\n" * 1000),
    "fields missing": lambda path: path.write_text("root\nroot:x\nroot:x:0\nroot:x:0:0:\n:::::\n\n"),
    "an uid that is nearly one": lambda path: path.write_text(
        "".join(f"root:x:{uid}:0::/evil:\n" for uid in ("+0", "-0", " 0", "0x0", "0 ", "", "4294967296", "0\0"))
    ),
    "a home that is too long": lambda path: path.write_text("root:x:0:0::/" + "x" * 5000 + ":\n"),
    "a home that is relative": lambda path: path.write_text("root:x:0:0::evil:\n"),
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_traps_in_passwd(run: Run, victim: Bundle, container_id: str, trap: Callable[[pathlib.Path], object]) -> None:
    victim.config["process"]["env"] = ["PATH=/bin"]
    begin(run, victim, container_id)
    (victim.rootfs / "etc/passwd").unlink()
    trap(victim.rootfs / "etc/passwd")
    started = time.monotonic()
    done = run("exec", container_id, "env", check=True)
    assert time.monotonic() - started < 2
    assert sorted(done.stdout.splitlines()) == ["HOME=/", "PATH=/bin"]


@pytest.mark.race
def test_names_change_places_under_exec(
    run: Run, runtime: str, victim: Bundle, container_id: str, tmp_path: pathlib.Path
) -> None:
    """The working directory, the program and passwd, while the container exchanges names."""
    root = victim.rootfs
    for number in range(3, 13):
        (root / f"a/{number}").mkdir(parents=True)
    (root / "bin/program").write_text("#!/bin/sh\nreadlink /proc/$$/cwd; echo $HOME; tty\n")
    (root / "bin/program").chmod(0o755)
    pairs = [
        (root / "a", replace(root / "link", "/proc/self/fd")),
        (root / "bin/program", replace(root / "bin/other", "/proc/self/exe")),
        (root / "etc/passwd", replace(root / "etc/other", "/proc/self/fd/4")),
    ]
    victim.config["process"]["env"] = ["PATH=/bin"]
    begin(run, victim, container_id)
    pid = json.loads(run("state", container_id, check=True).stdout)["pid"]
    joiner = Joiner(victim, runtime, pid)
    ops = [joiner.ops("program", cwd=f"/a/{number}") for number in range(3, 13)]
    made = 0
    with Swapper(*pairs), contextlib.ExitStack() as stack:
        leaked = [stack.enter_context(descriptor(tmp_path)) for _ in range(10)]
        for turn in tries(200):
            if turn % 50:
                said, _ = joiner.play(ops[turn % 10], leaked)
            else:  # with the runtime around it
                command: list[Any] = [runtime, "exec", "--cwd", f"/a/{3 + turn % 10}", container_id, "program"]
                words = leaking(*command, source=tmp_path, first=3, last=30)
                done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
                said = done.stdout
            if said:
                cwd, home, terminal = said.splitlines()
                assert cwd == "/" or cwd.startswith(("/a/", "/link/"))
                assert home in ("/", "/root")
                made += 1
    assert made > 5


@contextlib.contextmanager
def descriptor(path: pathlib.Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)

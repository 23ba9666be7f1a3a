"""The init's dialogue and what it leaves of its caller: gates, errors, `start`, descriptors, signals, its environment."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Callable, Iterator

import pytest

from pyoci_systemd.plan import ops
from pyoci_systemd.plan.ops import Op
from tests.unit.player import (
    BUILD,
    ERROR,
    GATE,
    INIT,
    PATIENCE,
    PID,
    USER_NAMESPACE,
    Player,
    Reply,
    execute,
    listed,
    play,
    private,
    reap,
)

NOTHING_LISTENS = (errno.ECONNREFUSED, errno.ENOENT)


def failed(index: int, error: int) -> list[Reply]:
    return [Reply(ERROR, index, error, 0)]


# -- errors


@pytest.mark.parametrize(("wanted", "index", "error"), [
    ([ops.Chdir("/does/not/exist", 1)], 0, errno.ENOENT),
    ([ops.Umask(0), ops.Umask(0), ops.Chdir("/dev/null", 0)], 2, errno.ENOTDIR),
    ([ops.FindExecutable("no-such-thing", "/usr/bin:/bin")], 0, errno.ENOENT),
    ([ops.FindExecutable("/usr/bin/no-such-thing", "")], 0, errno.ENOENT),
    ([ops.FindExecutable("/usr/bin", "")], 0, errno.EACCES),
    ([ops.FindExecutable("/etc/passwd", "")], 0, errno.EACCES),
    ([ops.FindExecutable("passwd", "/nowhere:/etc:/usr/lib")], 0, errno.EACCES),
    ([ops.FindExecutable("", "/usr/bin")], 0, errno.ENOENT),
    ([ops.FindExecutable("x" * 5000, "/usr/bin")], 0, errno.ENAMETOOLONG),
    ([ops.FindExecutable("x" * 300, "/usr/bin")], 0, errno.ENOENT),
    ([ops.Umask(0), ops.Execute(["a"], [])], 1, errno.ENOENT),  # nothing was found before
    ([ops.OpenNamespace(0x40000000, "/proc/self/ns/net"), ops.OpenNamespace(0x40000000, "/proc/self/ns/pid")], 1, errno.EINVAL),
    ([ops.OpenNamespace(0x40000000, "/etc/passwd")], 0, errno.EINVAL),  # NS3
    ([ops.OpenNamespace(0x40000000, "/does/not/exist")], 0, errno.ENOENT),
    ([ops.JoinNamespace(0x40000000, 0)], 0, errno.EBADF),
    ([ops.OpenNamespace(0x40000000, "/proc/self/ns/net"), ops.JoinNamespace(0x40000000, 1)], 1, errno.EBADF),
    ([*[ops.OpenNamespace(0x40000000, "/proc/self/ns/net")] * 254], 253, errno.EMFILE),
    ([ops.Bind("/a", "/b", 0, 0, 0, 0, 0, 0, 0, 0)], 0, errno.EBADF),
    ([ops.MapIds("/a", "", 0, 0, 0x1000)], 0, errno.EPERM),
    ([ops.Rootfs("/does/not/exist")], 0, errno.ENOENT),
    ([ops.Rootfs("/etc/passwd")], 0, errno.ENOTDIR),
    ([ops.Rootfs("/")], 0, errno.EPERM),
    ([ops.PrivateProc(), ops.Hostname("h")], 1, errno.EPERM),
    ([ops.Sysctl("sys/kernel/hostname", "h")], 0, errno.EBADF),  # no private procfs: no other is written to
    ([ops.Mount("tmpfs", "t", "/m", [], "", 0, 0, 0, 0, 0, 0)], 0, errno.EPERM),
    ([ops.Mask("/proc")], 0, errno.EBADF),  # no root filesystem: nothing is looked for elsewhere
    ([ops.ReadOnly("/proc")], 0, errno.EBADF),
    ([ops.Symlink("a", "/b", 0)], 0, errno.EBADF),
    ([ops.Mknod("/b", 0o10644, 0, 0, 0, 0)], 0, errno.EBADF),
    ([ops.Remount("/", [], 1, 0, 0, 0, 0)], 0, errno.EBADF),
    ([ops.PivotRoot()], 0, errno.EBADF),
    ([ops.ChangeRoot()], 0, errno.EBADF),
    ([ops.Console(1, 1, 1)], 0, errno.EBADF),
    ([ops.AwaitStart()], 0, None),  # its channel is gone by then
    ([ops.User(0, 0, b"", 1)], 0, errno.EPERM),
    ([ops.Capabilities(1, 1, 0, 0)], 0, errno.EPERM),
    ([ops.Bounding(0)], 0, errno.EPERM),
    ([ops.Seccomp(bytes(8), 0)], 0, errno.EACCES),
    ([ops.Rlimit(0, 99, 1, 1)], 0, errno.EINVAL),
    ([ops.Rlimit(0, 7, 2, 1)], 0, errno.EINVAL),
])  # fmt: skip
def test_failure_names_the_op_and_the_errno(wanted: list[Op], index: int, error: int | None) -> None:
    replies, ended = play(*wanted)
    if isinstance(wanted[0], ops.PrivateProc) and replies and replies[0].index == 0:
        assert replies == failed(0, errno.EPERM)  # where even that is denied
    else:
        assert replies == ([] if error is None else failed(index, error))
    assert ended == (1, b"")


# -- gates


def test_gate_is_told_and_waited_at() -> None:
    player = Player(listed(ops.Umask(0), ops.Await(0), ops.Await(1), *execute("echo", "through")))
    assert player.receive() == Reply(GATE, 1, 0, 0)
    assert player.process.poll() is None
    player.let_through()
    assert player.receive() == Reply(GATE, 2, 0, 1)
    player.let_through()
    assert player.receive() is None  # the channel does not outlive the execve
    assert player.end() == (0, b"through\n")


@pytest.mark.parametrize("gate", [0, 1])
def test_runtime_that_goes_away_at_a_gate(gate: int) -> None:
    player = Player(listed(ops.Await(gate), *execute("echo", "never")))
    assert player.receive() == Reply(GATE, 0, 0, gate)
    player.channel.close()
    assert player.end() == (1, b"")


def test_runtime_that_goes_away_before_the_gate() -> None:
    player = Player(listed(ops.Await(0), *execute("echo", "never")))
    player.channel.close()
    assert player.end() == (1, b"")


def test_clone_makes_a_sibling_and_tells_its_pid() -> None:
    player = Player(listed(ops.Clone(0, -1), ops.Await(1), *execute("sh", "-c", "exit 7")))
    replies = sorted(filter(None, (player.receive(), player.receive())))
    pid = replies[0].value
    # which of the two speaks first is theirs to settle
    assert replies == [Reply(PID, 0, 0, pid), Reply(GATE, 1, 0, 1)]
    assert pid != player.process.pid
    assert player.process.wait(PATIENCE) == 0
    assert f"PPid:\t{os.getpid()}\n" in pathlib.Path(f"/proc/{pid}/status").read_text()
    assert os.getsid(pid) == pid
    player.let_through()
    assert player.receive() is None
    assert reap(pid) == 7
    assert player.end().status == 0


def test_error_after_the_clone_comes_over_the_same_channel() -> None:
    player = Player(listed(ops.Clone(0, -1), ops.Await(0), ops.Chdir("/does/not/exist", 1)))
    first, second = sorted(filter(None, (player.receive(), player.receive())))
    player.let_through()
    assert player.replies() == failed(2, errno.ENOENT)
    assert reap(first.value) == 1
    assert second.kind == GATE
    player.end()


# -- start


@pytest.fixture
def gate(tmp_path: pathlib.Path) -> Iterator[tuple[socket.socket, Callable[[], socket.socket]]]:
    """A listening socket, and what connects to it."""
    path = str(tmp_path / "start")
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(16)

        def connect() -> socket.socket:
            client = opened.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(PATIENCE)
            client.connect(path)
            return client

        yield listener, connect


def started(
    gate: tuple[socket.socket, Callable[[], socket.socket]], *last: Op
) -> tuple[Player, Callable[[], socket.socket]]:
    """Return an init that waits for start; the runtime that made it is gone."""
    listener, connect = gate
    player = Player(listed(ops.Await(1), ops.AwaitStart(), *last), start=listener)
    listener.close()
    assert player.receive() == Reply(GATE, 0, 0, 1)
    player.let_through()
    assert player.receive() is None
    return player, connect


def answer(client: socket.socket) -> bytes:
    try:
        return client.recv(24, socket.MSG_WAITALL)
    except ConnectionResetError:
        return b""


def test_start(gate: tuple[socket.socket, Callable[[], socket.socket]]) -> None:
    player, connect = started(gate, *execute("echo", "started"))
    with connect() as client:
        client.send(b"g")
        assert answer(client)[:8] == bytes([GATE, 0, 0, 0, 1, 0, 0, 0])
        assert answer(client) == b""  # the program runs
    assert player.end() == (0, b"started\n")


def test_start_learns_what_fails_after_it(gate: tuple[socket.socket, Callable[[], socket.socket]]) -> None:
    player, connect = started(gate, ops.Chdir("/does/not/exist", 1))
    with connect() as client:
        client.send(b"g")
        assert answer(client)[:4] == bytes([GATE, 0, 0, 0])
        said = answer(client)
        assert (said[0], said[4], said[8]) == (ERROR, 2, errno.ENOENT)
    assert player.end().status == 1


def test_start_that_goes_away_is_forgotten(gate: tuple[socket.socket, Callable[[], socket.socket]]) -> None:
    player, connect = started(gate, *execute("true"))
    for _ in range(3):
        connect().close()
    with connect() as client:
        client.send(b"g")
        assert len(answer(client)) == 24
    assert player.end().status == 0


def test_only_one_start_wins(gate: tuple[socket.socket, Callable[[], socket.socket]]) -> None:
    player, connect = started(gate, *execute("true"))
    clients = [connect() for _ in range(8)]
    for client in clients:
        with contextlib.suppress(BrokenPipeError):  # the first has won, and the listener is closed by now
            client.send(b"g")
    assert sorted(len(answer(client)) for client in clients) == [0] * 7 + [24]
    assert player.end().status == 0
    with pytest.raises(OSError) as refused:
        connect()
    assert refused.value.errno in NOTHING_LISTENS


# -- what it leaves of its caller

LIST_FDS = ("python3", "-ISc", "import os; print([fd for fd in range(64) if os.path.exists(f'/proc/self/fd/{fd}')])")


def spawned(preserve: int, channel: int, also: list[int], *wanted: Op) -> str:
    """Run a list with the channel at a chosen number, and these other descriptors open; return its output."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    reading, writing = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    actions: list[tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)]
    # out of the way first: what is copied must not be where the copies go
    high = {fd: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (theirs.fileno(), null)}
    actions += [(os.POSIX_SPAWN_DUP2, high[null], fd) for fd in also]
    actions += [(os.POSIX_SPAWN_DUP2, high[theirs.fileno()], channel)]
    unwanted = [fd for fd in range(3, 64) if fd not in (channel, *also)]
    closed = [(os.POSIX_SPAWN_CLOSE, fd) for fd in unwanted]
    argv = ["unshare", *USER_NAMESPACE[1:], str(INIT), str(channel), str(preserve)]
    try:
        pid = os.posix_spawnp(
            argv[0], argv, {"ASAN_OPTIONS": "detect_leaks=0", "PATH": "/usr/bin:/bin"}, file_actions=[*actions, *closed]
        )
    finally:
        for fd in (writing, null, *high.values()):
            os.close(fd)
        theirs.close()
    message = listed(*wanted)
    ours.sendall(message)
    with open(reading, "rb") as output:
        said = output.read().decode()
    assert reap(pid) == 0, said
    ours.close()
    return said


@pytest.fixture
def user_namespace() -> None:
    if private() != USER_NAMESPACE:
        pytest.skip("no user namespace")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root maps ids of others")
@pytest.mark.parametrize(("uid", "gid", "said"), [(0, 0, "0 0"), (7, 0, "65534 0"), (0, 7, "0 65534")])
def test_whoever_is_not_mapped_stays_who_he_is(uid: int, gid: int, said: str) -> None:
    """User and group are judged each by itself: red with one look at errno after both."""
    program = execute("sh", "-c", "cd /proc/self && echo $(stat -c '%u %g' .)")
    player = Player(listed(ops.NewUserNamespace(), ops.Dumpable(1), *program), wrap=("env",))
    assert player.receive() == Reply(GATE, 0, 0, 2)
    for kind, first in ("uid", uid), ("gid", gid):
        pathlib.Path(f"/proc/{player.process.pid}/{kind}_map").write_text(f"{first} 100000 1")
    player.let_through()
    assert player.replies() == []
    assert player.end() == (0, f"{said}\n".encode())


@pytest.mark.usefixtures("user_namespace")
@pytest.mark.parametrize(("preserve", "channel", "also", "left"), [
    (0, 3, [], []),
    (0, 9, [3, 4, 5, 8, 10, 40], []),
    (2, 9, [3, 4, 5, 8, 10, 40], [3, 4]),
    (2, 40, [3, 4, 5, 41], [3, 4]),
    (6, 9, [3, 4, 5, 6, 7, 8, 10], [3, 4, 5, 6, 7, 8]),
    # fewer are open than are to be preserved: what the init opens itself takes their numbers, and the channel has one
    (5, 20, [3], [3]),
    (5, 4, [3, 5], [3, 5]),
    (60, 3, [], []),
])  # fmt: skip
def test_descriptors(preserve: int, channel: int, also: list[int], left: list[int]) -> None:
    """P5: the workload has 0, 1, 2 and what is preserved for it, never one of the runtime's or of the init's own."""
    said = spawned(preserve, channel, also, ops.PrivateProc(), *execute(*LIST_FDS))
    assert said == f"{[0, 1, 2, *left]}\n"


@pytest.mark.parametrize("program", [INIT, BUILD / "pyoci-init"], ids=["glibc", "installed"])
def test_signals_are_as_at_the_beginning_of_a_process(program: pathlib.Path) -> None:
    """Whatever the caller ignored or blocked, also what a C library keeps to itself or its sigaction() refuses."""
    assert program.exists(), "`make build build/init-asan`"
    ignoring = (
        "import ctypes, os, sys\n"
        "libc, act = ctypes.CDLL(None), (ctypes.c_ulong * 4)(1)\n"
        "for number in range(1, 65): libc.syscall(13, number, act, None, 8)\n"
        "libc.syscall(14, 2, (ctypes.c_ulong * 1)(2**64 - 1), None, 8)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    player = Player(listed(*execute("cat", "/proc/self/status")), program=program, wrap=("python3", "-ISc", ignoring))
    assert player.replies() == []
    lines = player.end().output.decode().splitlines()
    sets = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    assert (sets["SigBlk"], sets["SigIgn"]) == ("0" * 16, "0" * 16)


def test_umask_of_the_caller_is_not_the_container_s() -> None:
    _, ended = play(ops.Umask(0o027), *execute("sh", "-c", "umask"), wrap=("sh", "-c", 'umask 0777; exec "$0" "$@"'))
    assert ended == (0, b"0027\n")


def test_environment_is_the_config_s_alone() -> None:
    _, ended = play(*execute("env", env=["A=b", "C", "D=e f"]))
    assert ended == (0, b"A=b\nC\nD=e f\n")


@pytest.mark.parametrize("uid", [0, 4294967294])
def test_home_comes_after_the_config_s_own(uid: int) -> None:
    homes = {
        int(line.split(":")[2]): line.split(":")[5] for line in pathlib.Path("/etc/passwd").read_text().splitlines()
    }
    _, ended = play(ops.Home(uid), *execute("env", env=["A=b"]))
    assert ended == (0, f"A=b\nHOME={homes.get(uid, '/')}\n".encode())


def test_which_process_it_is_comes_after_the_config_s_own() -> None:
    own = [ops.OwnPid("LISTEN_PID"), ops.OwnPid("WATCHDOG_PID")]
    _, ended = play(*own, ops.Home(0), *execute("sh", "-c", "echo $$ $LISTEN_PID $WATCHDOG_PID $HOME $A", env=["A=b"]))
    pid = ended.output.split()[0].decode()
    assert int(pid) > 1
    assert ended == (0, f"{pid} {pid} {pid} /root b\n".encode())


def test_path_is_searched_as_execvp_does() -> None:
    """An empty entry is the working directory; what cannot be run is passed over for what can."""
    for path in ("/etc:/nowhere:/usr/bin:/bin", ":/bin:/usr/bin", "/usr/bin:/bin:"):
        _, ended = play(ops.Chdir("/", 1), ops.FindExecutable("true", path), ops.Execute(["x"], []))
        assert ended.status == 0
    _, ended = play(ops.Chdir("/usr/bin", 1), ops.FindExecutable("true", ""), ops.Execute(["x"], []))
    assert ended.status == 0


def test_nobody_looks_into_a_waiting_init() -> None:
    """CVE-2016-9962: not dumpable, so the files of /proc/PID belong to root, whoever it runs as."""
    player = Player(listed(ops.Await(0)))
    assert player.receive()
    assert os.stat(f"/proc/{player.process.pid}/mem").st_uid == 0
    assert pathlib.Path(f"/proc/{player.process.pid}/comm").read_text() == "pyoci-init\n"
    player.channel.close()
    player.end()

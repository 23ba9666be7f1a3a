"""What a container tells the service manager: what is passed on, from whom, and how much of it."""

from __future__ import annotations

import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from pyoci_systemd.container import notify as proxying
from pyoci_systemd.container import process
from pyoci_systemd.container.notify import BURST, Proxy
from pyoci_systemd.container.store import Known
from pyoci_systemd.errors import Error
from pyoci_systemd.systemd import notify

# fmt: off
PASSED: list[tuple[bytes, bytes]] = [
    (b"READY=1", b"READY=1"), (b"READY=1\n", b"READY=1"), (b"READY=1\0", b"READY=1"), (b"READY=1\n\0", b"READY=1"),
    (b"READY=1\nSTATUS=up\nERRNO=2", b"READY=1\nSTATUS=up\nERRNO=2"),
    (b"READY=0", b""), (b"READY=", b""), (b"READY", b""), (b"READY=1 ", b""), (b" READY=1", b""), (b"ready=1", b""),
    (b"RELOADING=1\nMONOTONIC_USEC=123", b"RELOADING=1\nMONOTONIC_USEC=123"), (b"RELOADING=2", b""),
    (b"STOPPING=1", b"STOPPING=1"), (b"STOPPING=0", b""),
    (b"STATUS=", b"STATUS="), (b"STATUS=a=b", b"STATUS=a=b"), (b"STATUS=\xff\xc3", b"STATUS=\xff\xc3"),
    (b"ERRNO=-1", b""), (b"ERRNO=x", b""), (b"ERRNO=", b""), (b"ERRNO=" + b"9" * 21, b""),
    (b"WATCHDOG=1", b"WATCHDOG=1"), (b"WATCHDOG=trigger", b"WATCHDOG=trigger"), (b"WATCHDOG=0", b""),
    (b"WATCHDOG_USEC=5000000", b"WATCHDOG_USEC=5000000"), (b"WATCHDOG_USEC=5s", b""),
    (b"EXTEND_TIMEOUT_USEC=20000000", b"EXTEND_TIMEOUT_USEC=20000000"), (b"EXTEND_TIMEOUT_USEC=+1", b""),
    (b"BARRIER=1", b"BARRIER=1"), (b"BARRIER=1\n", b"BARRIER=1"), (b"BARRIER=1\nREADY=1", b""), (b"BARRIER=2", b""),
    # who the service is, and who may speak for it, is nobody's business in there
    (b"MAINPID=1", b""), (b"MAINPIDFDID=7", b""), (b"MAINPIDFD=1", b""), (b"NOTIFYACCESS=all", b""), (b"BUSERROR=x", b""),
    (b"VARLINKERROR=x", b""), (b"EXIT_STATUS=0", b""), (b"X_VENDOR=1", b""), (b"=1", b""), (b"", b""), (b"\n\n", b""),
    (b"MAINPID=1\nREADY=1\nNOTIFYACCESS=all", b"READY=1"),
    (b"FDSTORE=1\nFDNAME=x", b""), (b"FDSTOREREMOVE=1\nFDNAME=x", b""), (b"FDPOLL=0", b""),
    (b"READY=1\0STATUS=x", b""), (b"STATUS=a\0b", b""), (b"READY=1\0\0", b""),
]
STORED: list[tuple[bytes, bytes]] = [
    (b"FDSTORE=1\nFDNAME=x\nFDPOLL=0", b"FDSTORE=1\nFDNAME=x\nFDPOLL=0"), (b"FDSTOREREMOVE=1\nFDNAME=x",) * 2,
    (b"FDSTORE=2", b""), (b"MAINPID=1\nFDSTORE=1", b"FDSTORE=1"), (b"READY=1", b"READY=1"),
]
PLACES: list[tuple[str, bytes | str]] = [
    ("/run/systemd/notify", b"/run/systemd/notify"), ("@/org/x", b"\0/org/x"), ("/" + "x" * 106, b"/" + b"x" * 106),
    ("/" + "x" * 107, "is no socket"), ("notify", "is no socket"), ("@", "is no socket"), ("/", "is no socket"),
    ("vsock:2:1234", "(vsock) is not supported"), ("vsock-stream:2:1234", "(vsock) is not supported"),
]
# fmt: on


@pytest.mark.parametrize(("rows", "storing"), [(PASSED, False), (STORED, True)], ids=["ordinary", "storing"])
def test_what_is_passed_on(rows: list[tuple[bytes, bytes]], storing: bool) -> None:
    assert [(said, b"\n".join(notify.passed_on(said, storing))) for said, _ in rows] == rows


def test_address() -> None:
    for address, expected in PLACES:
        if isinstance(expected, bytes):
            assert notify.place(address) == expected
        else:
            with pytest.raises(Error, match="^NOTIFY_SOCKET: ") as caught:
                notify.place(address)
            assert expected in caught.value.message


def test_time_of_another_clock() -> None:
    assert notify.shifted(b"MONOTONIC_USEC=5000", 2000) == b"MONOTONIC_USEC=3000"
    assert notify.shifted(b"MONOTONIC_USEC=5000", -2000) == b"MONOTONIC_USEC=7000"
    assert notify.shifted(b"MONOTONIC_USEC=5000", 6000) == b"MONOTONIC_USEC=0"
    assert notify.shifted(b"WATCHDOG_USEC=5000", 2000) == b"WATCHDOG_USEC=5000"


class Stage:
    """A manager that listens, a proxy for a container that is ourselves, and a program in it that speaks."""

    def __init__(self, path: pathlib.Path, **how: Any) -> None:
        (path / "notify").mkdir()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(path / "manager"))
        self.manager.setblocking(False)
        # a container without a cgroup: its own are those in the mount namespace of its first process
        self.known = Known("c1", "", "", "", "", "", pid=os.getpid(), start_time=process.start_time(os.getpid()))
        self.proxy = Proxy(str(path), str(path / "manager"), self.known, **how)
        self.socket = str(path / "notify/notify.sock")
        self.program = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.program.connect(self.socket)
        self.program.setblocking(False)

    def says(self, text: bytes, *fds: int) -> list[bytes]:
        """Say something inside; return what the manager hears."""
        socket.send_fds(self.program, [text], list(fds))
        self.proxy.handle()
        return self.heard()

    def heard(self) -> list[bytes]:
        """Return what has reached the manager; descriptors are counted."""
        messages: list[bytes] = []
        while True:
            try:
                text, fds, _, _ = socket.recv_fds(self.manager, 8192, 300)
            except BlockingIOError:
                return messages
            for fd in fds:
                os.close(fd)
            messages.append(text + b" +%d" % len(fds) if fds else text)

    def close(self) -> None:
        for end in (self.manager, self.program, self.proxy):
            end.close()


@pytest.fixture
def stage(tmp_path: pathlib.Path) -> Iterator[Stage]:
    before = sorted(os.listdir("/proc/self/fd"))
    with closing(Stage(tmp_path)) as one:
        yield one
    assert not os.path.exists(one.socket)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_passed_on(stage: Stage) -> None:
    assert stage.says(b"MAINPID=7\nREADY=1\nSTATUS=up") == [b"READY=1\nSTATUS=up"]
    assert stage.says(b"MAINPID=7") == []
    assert stage.proxy.ready


def test_anybody_in_there_may_write(stage: Stage) -> None:
    assert os.stat(stage.socket).st_mode & 0o777 == 0o666


def test_somebody_else(stage: Stage) -> None:
    """Who is in another mount namespace than the container's first process: init of the machine, say."""
    stage.known.pid = 0
    assert stage.says(b"READY=1") == []
    assert not stage.proxy.ready


def test_the_cgroup_decides(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.known.cgroup = "/sys/fs/cgroup/a.scope/container"
    for where, counts in {
        "/sys/fs/cgroup/a.scope/container": True,
        "/sys/fs/cgroup/a.scope/container/below/it": True,
        "/sys/fs/cgroup/a.scope/container2": False,
        "/sys/fs/cgroup/a.scope": False,
        "/sys/fs/cgroup/": False,
    }.items():
        monkeypatch.setattr("pyoci_systemd.cgroup.tree.of_process", lambda pid, where=where: where)
        assert bool(stage.says(b"STATUS=x")) == counts, where


def test_who_is_gone_is_nobody(stage: Stage) -> None:
    script = f"import socket; socket.socket(1, 2).sendto(b'READY=1', {stage.socket!r})"
    subprocess.run([sys.executable, "-Sc", script], check=True, timeout=10)
    stage.proxy.handle()
    assert stage.heard() == []


@pytest.mark.parametrize("size", [4096, 4097, 100000])
def test_too_long(stage: Stage, size: int) -> None:
    assert stage.says(b"STATUS=".ljust(size, b"x")) == ([b"STATUS=".ljust(size, b"x")] if size == 4096 else [])


def test_descriptors_go_no_further(stage: Stage) -> None:
    reading, writing = os.pipe()
    try:
        assert stage.says(b"READY=1", writing) == [b"READY=1"]
        assert stage.says(b"FDSTORE=1", writing) == []
        assert stage.says(b"BARRIER=1\nREADY=1", writing) == []
        assert stage.says(b"BARRIER=1") == [], "a barrier has something that falls"
        assert stage.says(b"BARRIER=1", *[writing] * 40) == []
        os.close(writing)
        assert os.read(reading, 1) == b"", "nobody else holds it"
    finally:
        os.close(reading)


def test_a_barrier_falls_when_the_manager_lets_it(stage: Stage) -> None:
    reading, writing = os.pipe()
    socket.send_fds(stage.program, [b"BARRIER=1"], [writing])
    os.close(writing)
    stage.proxy.handle()
    waits = select.poll()
    waits.register(reading, 0)
    assert waits.poll(0) == []
    assert stage.heard() == [b"BARRIER=1 +1"]
    assert waits.poll(0)
    os.close(reading)


def test_descriptors_to_be_kept(tmp_path: pathlib.Path) -> None:
    with closing(Stage(tmp_path, storing=True)) as stage, open(os.devnull) as null:
        assert stage.says(b"FDSTORE=1\nFDNAME=x", *[null.fileno()] * 40) == [b"FDSTORE=1\nFDNAME=x +40"]
        assert stage.says(b"READY=1", null.fileno()) == [b"READY=1"]
        assert stage.says(b"BARRIER=1", null.fileno(), null.fileno()) == []


def test_a_flood_waits(stage: Stage) -> None:
    """Who says more than that in a second waits, and we do other things meanwhile."""
    assert all(stage.says(b"STATUS=%d" % number) for number in range(BURST))
    assert stage.says(b"STATUS=more") == []
    watched = select.poll()
    patience = stage.proxy.register(watched)
    assert patience is not None and 0 < patience <= 1001
    assert watched.poll(0) == []
    stage.proxy._since -= 1
    stage.proxy.handle()
    assert stage.heard() == [b"STATUS=more"]


def test_a_manager_that_is_busy_is_waited_for(stage: Stage) -> None:
    """What it cannot take yet is held, nothing more is read, and nothing is lost or overtaken."""
    sent: list[bytes] = []
    while not stage.proxy._held:
        assert len(sent) < 5000, "its queue has no end (net.unix.max_dgram_qlen)"
        stage.proxy._count = 0
        sent.append(b"STATUS=%d" % len(sent))
        stage.program.send(sent[-1])
        stage.proxy.handle()
    watched = select.poll()
    assert stage.proxy.register(watched) is None
    assert watched.poll(0) == []
    heard = stage.heard()
    assert watched.poll(1000)
    stage.proxy._count = 0
    stage.proxy.handle()
    assert heard + stage.heard() == sent


def test_a_manager_that_is_gone_is_told_of_once(
    stage: Stage, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("pyoci_systemd.log.warning", told.append)
    assert stage.says(b"STATUS=1") == [b"STATUS=1"]
    stage.manager.close()
    (tmp_path / "manager").unlink()
    stage.program.send(b"STATUS=2")
    stage.program.send(b"STATUS=3")
    stage.proxy.handle()
    assert told == ["cannot reach the service manager at NOTIFY_SOCKET: No such file or directory"]
    stage.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stage.manager.bind(str(tmp_path / "manager"))
    stage.manager.setblocking(False)
    assert stage.says(b"STATUS=4") == [b"STATUS=4"], "another one has come"


def test_ready_names_the_main_process(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxying, "LINGER", 0.01)
    stage.program.send(b"STATUS=soon")
    stage.program.send(b"MAINPID=7\nREADY=1")

    def manager() -> None:
        """Read all, as systemd does, until the barrier."""
        stage.manager.settimeout(5)
        for expected in (b"STATUS=soon", b"READY=1\nMAINPID=%d" % os.getppid(), b"BARRIER=1"):
            text, fds, _, _ = socket.recv_fds(stage.manager, 8192, 2)
            assert text == expected
            for fd in fds:
                os.close(fd)

    child = os.fork()
    if not child:
        try:
            manager()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    stage.proxy.until_ready()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_ended_before_it_was_ready(stage: Stage) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        stage.known.pid, stage.known.start_time = child.pid, process.start_time(child.pid)
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(Error, match="^container `c1` ended before it was ready$"):
            stage.proxy.until_ready()
    with pytest.raises(Error, match="^container `c1` ended before it was ready$"):
        stage.proxy.until_ready()


def test_a_signal_ends_the_wait(stage: Stage) -> None:
    reading, writing = os.pipe()
    os.write(writing, bytes([signal.SIGCHLD, signal.SIGTERM]))
    with pytest.raises(Error, match="interrupted by signal 15") as caught:
        stage.proxy.until_ready(reading)
    assert caught.value.status == 143
    os.close(reading)
    os.close(writing)


def test_the_socket_of_one_who_was_killed(tmp_path: pathlib.Path, stage: Stage) -> None:
    path = str(tmp_path / "left")
    proxying.listen(path).close()
    with closing(proxying.listen(path)), pytest.raises(OSError, match="in use"):
        proxying.listen(path)

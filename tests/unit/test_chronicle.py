"""Entries of the journal: their fields, the catalog that explains them; and the streams that carry output there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import select
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from pyoci_systemd import log, sinks
from pyoci_systemd.container import chronicle, output
from pyoci_systemd.container.store import Known
from pyoci_systemd.errors import Error
from pyoci_systemd.systemd import journal

CATALOG = pathlib.Path(__file__).parents[2] / "units/pyoci.catalog"
KNOWN = Known("web", "/srv/web", "/srv/web/rootfs", "", "root", "systemd", unit="pyoci-web.scope", journal=True)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is warned of."""
    said: list[str] = []
    monkeypatch.setattr(log, "warning", said.append)
    return said


@pytest.fixture
def inbox(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    address = str(tmp_path / "socket")
    monkeypatch.setattr(journal, "JOURNAL", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(5)
        yield server


@pytest.mark.parametrize(("event", "fields", "priority", "message"), [
    ("created", {}, 6, "container `web` created"),
    ("died", {"EXIT_CODE": "exited", "EXIT_STATUS": "0"}, 6, "container `web` died with exit status 0"),
    ("died", {"EXIT_CODE": "exited", "EXIT_STATUS": "3"}, 5, "container `web` died with exit status 3"),
    ("died", {"EXIT_CODE": "killed", "EXIT_STATUS": "9"}, 5, "container `web` died, killed by signal 9"),
])  # fmt: skip
@pytest.mark.parametrize(("rootless", "unit_field"), [
    (False, "OBJECT_SYSTEMD_UNIT"), (True, "OBJECT_SYSTEMD_USER_UNIT")  # as `journalctl --unit`, --user-unit ask
])  # fmt: skip
def test_entry(
    event: str, fields: dict[str, str], priority: int, message: str,
    rootless: bool, unit_field: str, inbox: socket.socket, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(chronicle, "is_rootless", lambda: rootless, raising=False)
    KNOWN.tell(event, **fields)
    told = dict(line.split("=", 1) for line in inbox.recv(65536).decode().splitlines())
    assert told == {
        "MESSAGE": message, "MESSAGE_ID": chronicle.MESSAGES[event], "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "pyoci", "CONTAINER_ID": "web", "CONTAINER_NAME": "web", "CONTAINER_EVENT": event,
        "CONTAINER_BUNDLE": "/srv/web", unit_field: "pyoci-web.scope", **fields,
    }  # fmt: skip


def test_a_path_forges_no_field(inbox: socket.socket) -> None:
    Known("web", "/srv\nPRIORITY=0", "", "", "", "", journal=True).tell("created")
    assert b"\nPRIORITY=0" not in inbox.recv(65536)


def test_nobody_asked(inbox: socket.socket) -> None:
    Known("web", "", "", "", "", "").tell("created")
    inbox.settimeout(0)
    with pytest.raises(BlockingIOError):
        inbox.recv(1)


def test_no_journal_is_no_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(journal, "JOURNAL", "/nonexistent")
    KNOWN.tell("created")
    assert "Traceback" not in capfd.readouterr().err
    assert sinks.JOURNAL != "/nonexistent"


def test_a_journal_that_does_not_read(inbox: socket.socket, monkeypatch: pytest.MonkeyPatch, warned: list[str]) -> None:
    monkeypatch.setattr(sinks, "PATIENCE", 0.05)
    with contextlib.ExitStack() as senders, contextlib.suppress(BlockingIOError):
        while True:
            # each may have so much under way and no more, and so has the inbox: full is it when a new one cannot begin
            other = senders.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            other.connect(inbox.getsockname())
            other.setblocking(False)
            other.send(b"x")
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.send(b"x")
    KNOWN.tell("created")
    assert warned == ["cannot tell the journal that container `web` created: timed out"]


def test_catalog_explains_every_message() -> None:
    text = CATALOG.read_text()
    assert re.findall(r"^-- ([0-9a-f]{32})$", text, re.M) == list(chronicle.MESSAGES.values())
    fields = set(re.findall(r"@([A-Z_]+)@", text))
    assert fields <= {"CONTAINER_ID", "CONTAINER_BUNDLE", "EXIT_CODE", "EXIT_STATUS"}


@pytest.fixture
def listening(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    address = str(tmp_path / "stdout")
    monkeypatch.setattr(journal, "STREAM", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(address)
        server.listen()
        server.settimeout(5)
        yield server


def heard(connection: socket.socket, size: int) -> bytes:
    deadline, text = time.monotonic() + 5, b""
    while len(text) < size and time.monotonic() < deadline:
        text += connection.recv(65536)
    return text


# no prefixes are read: a container that may print `<0>` may write on every terminal
HEADER = b"web\n\n%d\n0\n0\n0\n0\n"


@pytest.fixture
def alarm() -> Iterator[None]:
    """Have what hangs fail; no OSError, which would be handled."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def turn(made: output.Output) -> bool:
    """Do what a supervisor does in one turn; false when there was nothing to do."""
    watched = select.poll()
    assert made.register(watched) is None
    ready = [fd for fd, _ in watched.poll(0)]
    made.handle(ready)
    return bool(ready)


def fill(fd: int, made: output.Output | None = None) -> int:
    """Write until nothing can be written any more; return how much that was."""
    os.set_blocking(fd, False)
    size = 0
    while True:
        try:
            size += os.write(fd, b"x" * 4096)
        except BlockingIOError:
            if not made or not turn(made):
                return size


def silence(made: output.Output) -> None:
    """Let go of the writing ends, which are for the container."""
    for fd in made.stdio[1:]:
        os.close(fd)


def test_a_journal_that_stalls(listening: socket.socket, alarm: None) -> None:
    made = output.Output("web")
    (out, _), (error, _) = listening.accept(), listening.accept()
    with out, error:
        size = fill(made.stdio[1], made)
        assert size > 65536  # the pipe is full, and so is what lies behind it
        assert not turn(made)  # and nothing is done about that before the journal reads
        # meanwhile the other stream is looked after
        os.write(made.stdio[2], b"oops\n")
        assert turn(made)
        assert heard(error, len(HEADER % 3) + 5).endswith(b"0\noops\n")
        got = 0
        while got < size + len(HEADER % 6):
            got += len(out.recv(65536))
            turn(made)
        assert got == size + len(HEADER % 6)
        while turn(made):
            pass
        os.write(made.stdio[1], b"more\n")
        assert turn(made)
        assert heard(out, 5) == b"more\n"
    silence(made)


def test_the_end_waits_for_no_journal(
    listening: socket.socket, alarm: None, monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    monkeypatch.setattr(output, "LINGER", 0.2, raising=False)
    made = output.Output("web")
    fill(made.stdio[1], made)
    fill(made.stdio[2], made)
    begun = time.monotonic()
    made.drain()
    assert 0.2 <= time.monotonic() - begun < 2  # for both together
    assert warned == [
        f"the end of `web`'s standard {stream} is lost: the journal takes no more" for stream in ("output", "error")
    ]
    silence(made)


def test_the_end_waits_for_no_process(listening: socket.socket, alarm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others than the first process write on and on."""
    made = output.Output("web")
    out, _ = listening.accept()
    splice = os.splice

    def spliced(*args: int, **more: int) -> int:
        size = splice(*args, **more)
        os.write(made.stdio[1], b"more\n")
        assert out.recv(65536)
        return size

    os.write(made.stdio[1], b"one\n")
    monkeypatch.setattr("posix.splice", spliced)
    made.drain()
    out.close()
    silence(made)


def test_what_somebody_else_has_read(listening: socket.socket, alarm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may open the pipe that is its standard output for reading."""
    made = output.Output("web")
    os.write(made.stdio[1], b"one\n")
    splice = os.splice

    def spliced(source: int, *args: int, **more: int) -> int:
        os.read(source, 100)
        return splice(source, *args, **more)

    monkeypatch.setattr("posix.splice", spliced)
    made.drain()
    silence(made)


def test_a_journal_that_hangs_up(alarm: None, monkeypatch: pytest.MonkeyPatch, warned: list[str]) -> None:
    asked = []

    def hung_up(identifier: str, priority: int, unit: str = "") -> int:
        asked.append(priority)
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours.detach()

    monkeypatch.setattr(output, "stream", hung_up)
    made = output.Output("web")
    os.write(made.stdio[1], b"one\n")
    made.drain()
    os.write(made.stdio[1], b"two\n")
    while turn(made):
        pass
    assert asked == [6, 3, *[6] * output.TRIES]
    assert warned == ["`web`'s standard output is lost: the journal: Broken pipe"]
    silence(made)


def test_a_stream_is_not_waited_for(tmp_path: pathlib.Path, alarm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "stdout")
    monkeypatch.setattr(journal, "STREAM", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(address)
        server.listen(0)
        first = journal.stream("web", journal.INFO)
        assert os.get_blocking(first)  # as programs expect of their output
        with pytest.raises(Error) as caught:
            journal.stream("web", journal.INFO)
        assert caught.value.message == f"cannot write to the journal by `{address}`: Resource temporarily unavailable"
        os.close(first)


def test_output_by_pipes(listening: socket.socket) -> None:
    made = output.Output("web")
    (out, _), (error, _) = listening.accept(), listening.accept()
    assert (out.recv(100), error.recv(100)) == (HEADER % 6, HEADER % 3)
    _, theirs, theirs_error = made.stdio
    with open(theirs, "wb", buffering=0) as pipe, open(theirs_error, "wb", buffering=0) as error_pipe:
        with open(f"/proc/self/fd/{theirs}", "wb") as again:  # what no socket allows
            again.write(b"one\n")
        pipe.write(b"two\n")
        error_pipe.write(b"x" * 60_000)
        made.drain()
        assert heard(out, 8) == b"one\ntwo\n"
        assert len(heard(error, 60_000)) == 60_000
        made.handle([12345])  # none of its own
        # the journal is started anew
        out.close()
        pipe.write(b"three\n")
        made.drain()
        out, _ = listening.accept()
        assert heard(out, len(HEADER % 6) + 6).endswith(b"three\n")
    error.close()
    out.close()

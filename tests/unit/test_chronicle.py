"""Entries of the journal: their fields, the catalog that explains them; and the streams that carry output there."""

from __future__ import annotations

import pathlib
import re
import socket
import time

import pytest

from pyoci_systemd import sinks
from pyoci_systemd.container import chronicle, output
from pyoci_systemd.container.store import Known
from pyoci_systemd.systemd import journal

CATALOG = pathlib.Path(__file__).parents[2] / "units/pyoci.catalog"
KNOWN = Known("web", "/srv/web", "/srv/web/rootfs", "", "root", "systemd", unit="pyoci-web.scope", journal=True)


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
def test_entry(event: str, fields: dict[str, str], priority: int, message: str, inbox: socket.socket) -> None:
    KNOWN.tell(event, **fields)
    told = dict(line.split("=", 1) for line in inbox.recv(65536).decode().splitlines())
    assert told == {
        "MESSAGE": message, "MESSAGE_ID": chronicle.MESSAGES[event], "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "pyoci", "CONTAINER_ID": "web", "CONTAINER_NAME": "web", "CONTAINER_EVENT": event,
        "CONTAINER_BUNDLE": "/srv/web", "OBJECT_SYSTEMD_UNIT": "pyoci-web.scope", **fields,
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


HEADER = b"web\n\n%d\n1\n0\n0\n0\n"


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

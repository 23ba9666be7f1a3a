"""The log: its lines, where they go, and that it never stands in the way."""

from __future__ import annotations

import datetime
import json
import re
import socket
import stat
import time
from pathlib import Path

import pytest

from pyoci_systemd import log, sinks
from pyoci_systemd.log import Log


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A datagram socket in the place of the journal's and syslog's."""
    address = str(tmp_path / "socket")
    monkeypatch.setattr(sinks, "JOURNAL", address)
    monkeypatch.setattr(sinks, "SYSLOG", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(5)
        yield server


def test_error_is_one_json_object(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """podman reads the whole file as one object, containerd drops an error whose time is not RFC 3339."""
    path = tmp_path / "log.json"
    before = datetime.datetime.now(datetime.UTC)
    Log(str(path), "json").write("error", 'exec: "X": stat X: no such file or directory')
    entry = json.loads(path.read_text())
    assert list(entry) == ["msg", "level", "time"]
    assert (entry["msg"], entry["level"]) == ('exec: "X": stat X: no such file or directory', "error")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["time"])
    assert before <= datetime.datetime.fromisoformat(entry["time"]) <= datetime.datetime.now(datetime.UTC)
    assert path.read_bytes().endswith(b"}\n")
    assert capfd.readouterr().err == 'pyoci: exec: "X": stat X: no such file or directory\n'


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "1970-01-01T00:00:00.000000Z"),
    (0.5, "1970-01-01T00:00:00.500000Z"),
    (951827696.25, "2000-02-29T12:34:56.250000Z"),
    (1767225599.999999, "2025-12-31T23:59:59.999999Z"),
])  # fmt: skip
def test_timestamp(seconds: float, text: str) -> None:
    assert sinks.timestamp(seconds) == text


@pytest.mark.parametrize("prefix", ["", "file:"])
@pytest.mark.parametrize("name", ["log", "with:colon", "jour nald"])
def test_text_file(prefix: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("what was there\n")
    here = Log(f"{prefix}{path}", level="debug")
    here.write("debug", "one")
    here.write("warning", "two")
    first, *lines = path.read_text().splitlines()
    assert first == "what was there"
    assert [line.split(" ", 1)[1] for line in lines] == ["debug: one", "warning: two"]


def test_file_is_private(tmp_path: Path) -> None:
    Log(str(tmp_path / "log")).write("error", "x")
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_a_file_named_like_a_log_daemon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Log("journald").write("error", "x")
    assert (tmp_path / "journald").exists()


@pytest.mark.parametrize(("level", "written"), [
    ("error", ["error"]),
    ("warning", ["error", "warning"]),
    ("debug", ["error", "warning", "debug"]),
])  # fmt: skip
def test_level(level: str, written: list[str], tmp_path: Path) -> None:
    path = tmp_path / "log"
    here = Log(str(path), "json", level)
    for each in ("error", "warning", "debug"):
        here.write(each, "x")
        assert here.wants(each) == (each in written)
    assert [json.loads(line)["level"] for line in path.read_text().splitlines()] == written


def test_nothing_said_leaves_no_file(tmp_path: Path) -> None:
    here = Log(str(tmp_path / "log"), "json")
    here.write("warning", "x")
    here.write("debug", "x")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(("form", "level", "expected"), [
    ("text", "error", r"pyoci: x\n"),
    ("text", "warning", r"pyoci: warning: x\n"),
    ("text", "debug", r"pyoci: debug: x\n"),
    ("json", "error", r'\{"msg":"x","level":"error","time":"[-:.0-9TZ]+"\}\n'),
    ("json", "debug", r'\{"msg":"x","level":"debug","time":"[-:.0-9TZ]+"\}\n'),
])  # fmt: skip
def test_standard_error(form: str, level: str, expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Without --log an error is told once, not once as log and once as error."""
    Log("", form, "debug").write(level, "x")
    assert re.fullmatch(expected, capfd.readouterr().err)


@pytest.mark.parametrize(("text", "line"), [
    ("plain `path`: No such file or directory", "plain `path`: No such file or directory"),
    ("größe 大小 😀", "größe 大小 😀"),
    ("two\nlines\r\n", r"two\nlines\r\n"),
    ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
    ("nul \0", r"nul \x00"),
    ("byte \udcff", r"byte \xff"),
    ("lone \ud800", r"lone \ud800"),
    ("right to left \u202e", r"right to left \u202e"),
    ("line separator \u2028", r"line separator \u2028"),
])  # fmt: skip
def test_one_line(text: str, line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An id or a path can neither forge a second line nor drive the terminal."""
    path = tmp_path / "log"
    Log(str(path), "json").write("error", text)
    assert json.loads(path.read_text())["msg"] == line
    assert len(path.read_text().splitlines()) == 1
    assert capfd.readouterr().err == f"pyoci: {line}\n"


@pytest.mark.parametrize(("target", "container", "fields"), [
    ("journald:", "web", ["ID=web", "CONTAINER_ID=web"]),
    ("journald:mine", "web", ["ID=mine", "CONTAINER_ID=web"]),  # D15: the id that was given counts
    ("journald:mine", "", ["ID=mine"]),
    ("journald:", "", []),
    ("journald:a\nMESSAGE=forged", "", [r"ID=a\nMESSAGE=forged"]),
    ("journald:", "a\nMESSAGE=forged", [r"ID=a\nMESSAGE=forged", r"CONTAINER_ID=a\nMESSAGE=forged"]),
])  # fmt: skip
def test_journal(target: str, container: str, fields: list[str], inbox: socket.socket) -> None:
    here = Log(target)
    here.container = container
    here.write("error", "two\nlines")
    entry = inbox.recv(65536).decode()
    assert entry.endswith("\n")
    assert sorted(entry.splitlines()) == sorted(
        ["PRIORITY=3", r"MESSAGE=two\nlines", "SYSLOG_IDENTIFIER=pyoci", *fields]
    )


@pytest.mark.parametrize(("level", "priority"), [("error", 3), ("warning", 4), ("debug", 7)])
def test_priorities(level: str, priority: int, inbox: socket.socket) -> None:
    Log("journald:", level="debug").write(level, "x")
    assert inbox.recv(65536).startswith(b"PRIORITY=%d\n" % priority)
    Log("syslog:", level="debug").write(level, "x")
    assert inbox.recv(65536).startswith(b"<%d>" % (24 + priority))


@pytest.mark.parametrize(("target", "container", "ident"), [
    ("syslog:mine", "web", "mine"),
    ("syslog:", "web", "web"),
    ("syslog:", "", "pyoci"),
])  # fmt: skip
def test_syslog(target: str, container: str, ident: str, inbox: socket.socket) -> None:
    here = Log(target)
    here.container = container
    here.write("error", "no room")
    line = inbox.recv(65536).decode()
    assert re.fullmatch(rf"<27>[A-Z][a-z]{{2}} [ 1-3]\d \d\d:\d\d:\d\d {ident}\[\d+\]: no room", line)


def test_the_middle_of_a_long_message_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    """The reason stands at the end."""
    Log().write("error", f"cannot open `{'x' * 70_000}`: File name too long")
    said = capfd.readouterr().err
    assert said.startswith("pyoci: cannot open `xxx")
    assert said.endswith("xxx`: File name too long\n")
    assert len(said) < 11_000


def test_longest_message_fits_a_datagram(inbox: socket.socket) -> None:
    Log("journald:").write("error", "x" * 1_000_000)
    assert b"MESSAGE=xxx" in inbox.recv(1_000_000)


@pytest.mark.parametrize("target", ["/dev/full", "/nonexistent/log", "file:/nonexistent/log", "journald:", "syslog:"])
def test_a_log_that_fails_is_told_once(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command goes on, and its error reaches standard error all the same, once."""
    monkeypatch.setattr(sinks, "JOURNAL", str(tmp_path / "absent"))
    monkeypatch.setattr(sinks, "SYSLOG", str(tmp_path / "absent"))
    here = Log(target, level="debug")
    here.write("debug", "one")
    here.write("debug", "two")
    here.write("error", "three")
    first, *rest = capfd.readouterr().err.splitlines()
    assert first.startswith(f"pyoci: cannot log to `{target}`: No ")
    assert rest == ["pyoci: three"]


def test_a_full_journal_does_not_hang(inbox: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads: after PATIENCE the message is given up."""
    monkeypatch.setattr(sinks, "PATIENCE", 0.05)
    told: list[str] = []
    monkeypatch.setattr(sinks, "to_stderr", lambda level, text: told.append(text))
    here = Log("journald:", level="debug")
    began = time.monotonic()
    for _ in range(10_000):
        here.write("debug", "x" * 1000)
        if told:
            break
    assert told[0] == "cannot log to `journald:`: timed out"
    assert time.monotonic() - began < 10


def test_module_functions_use_the_log_in_use(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.use(Log(str(path), "json", "debug"))
    try:
        log.debug("one")
        log.warning("two")
        log.error("three")
        assert log.wants("debug")
    finally:
        log.use(Log())
    assert [json.loads(line)["msg"] for line in path.read_text().splitlines()] == ["one", "two", "three"]
    assert not log.wants("warning")

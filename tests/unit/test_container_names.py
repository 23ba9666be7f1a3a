"""Container ids and signals: what is taken, what is refused, and that a refusal is one printable line."""

from __future__ import annotations

import pathlib
import signal

import pytest

from pyoci_systemd import signalname
from pyoci_systemd.container import identity
from pyoci_systemd.container.caller import nameable
from pyoci_systemd.container.list import table
from pyoci_systemd.container.matching import matching
from pyoci_systemd.errors import Error

GOOD_IDS = ["a", "A9", "_", "-", "+", "-x", "a.b", "a..b", "a_b+c-d.e", "0", "x" * 200, "state.json", "a."]
BAD_IDS = [
    "", ".", "..", "...", ".a", ".seccomp", "../x", "a/b", "/", "/a", "a/", "a\\b", "a b", " a", "a ", "a\n", "\n", "a\tb",
    "a\0b", "\0", "a:b", "a@b", "a%b", "a*", "a?", "[a]", "a$b", "a;b", "a|b", "a&b", "a'b", 'a"b', "a`b", "a=b", "a,b",
    "ä", "a\u0301", "１", "a\u202eb", "a\x1b[31m", "a\udcff", "x" * 201, "x" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_IDS)
def test_id(name: str) -> None:
    assert identity.check(name) == name


@pytest.mark.parametrize("name", BAD_IDS, ids=ascii)
def test_no_id(name: str) -> None:
    with pytest.raises(Error) as caught:
        identity.check(name)
    message = caught.value.message
    assert message.isprintable()
    assert message.isascii() or "…" in message or name.isprintable()
    assert len(message) < 200
    assert "container id" in message


NAMES = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11,
    "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20,
    "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "POLL": 29,
    "PWR": 30, "SYS": 31,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_signal_by_name(name: str) -> None:
    """signal(7), the numbers of x86 and ARM."""
    for text in (name, f"SIG{name}", name.lower(), f"sig{name.lower()}", name.capitalize()):
        assert signalname.number(text) == NAMES[name]


@pytest.mark.parametrize(("text", "number"), [
    ("1", 1), ("9", 9), ("15", 15), ("015", 15), ("31", 31), ("34", 34), ("64", 64),
    ("RTMIN", 34), ("SIGRTMIN", 34), ("rtmin+1", 35), ("RTMIN+3", 37), ("RTMIN+15", 49), ("RTMIN+30", 64),
    ("RTMAX", 64), ("SIGRTMAX-1", 63), ("RTMAX-14", 50), ("RTMAX-30", 34), ("RTMIN+0", 34),
])  # fmt: skip
def test_signal_by_number(text: str, number: int) -> None:
    assert signalname.number(text) == number
    assert int(signal.SIGRTMIN) == 34


@pytest.mark.parametrize("text", [
    "", " ", "0", "00", "-1", "65", "999", "1000", "9" * 5000, "1.0", "+9", "0x9", "1_5", " 15", "15 ", "１５", "٩",
    "FOO", "SIG", "SIGSIG", "SIGSIGTERM", "TERM ", " TERM", "TE RM", "_DFL", "SIG_DFL", "_IGN", "SIG_BLOCK", "SIGNALS",
    "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMAX-31", "RTMIN+", "RTMAX-", "RTMIN1", "RTMIN+-1", "RTMIN++1", "RTMIN+٣", "RTMIN+ 1",
    "RTMIN+999", "TERM\n", "\0",
])  # fmt: skip
def test_no_signal(text: str) -> None:
    with pytest.raises(Error, match=r"^unknown signal `"):
        signalname.number(text)


# -- list


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    for name in ("web-1", "web-2", "db", ".seccomp", "a.b"):
        (tmp_path / name).mkdir()
    return str(tmp_path)


@pytest.mark.parametrize(("expression", "found"), [
    ("^web", ["web-1", "web-2"]),
    ("web-[2-9]", ["web-2"]),
    ("b", ["a.b", "db", "web-1", "web-2"]),  # found anywhere
    ("^db$|1$", ["db", "web-1"]),
    ("nothing", []),
    ("^a\\.b$", ["a.b"]),
    ("seccomp", []),
    ("", ["a.b", "db", "web-1", "web-2"]),
])  # fmt: skip
def test_matching(expression: str, found: list[str], root: str) -> None:
    assert matching(root, expression) == found


@pytest.mark.parametrize("expression", ["(", "[", "*", "a{2,1}", "(" * 5000, "\\"])
def test_no_expression(expression: str, root: str) -> None:
    with pytest.raises(Error, match="is not a regular expression"):
        matching(root, expression)


def test_matching_without_a_state_root(tmp_path: pathlib.Path) -> None:
    assert matching(str(tmp_path / "none"), ".") == []


def entry(**changes: object) -> dict[str, object]:
    return {
        "id": "c1",
        "pid": 42,
        "status": "running",
        "bundle": "/b",
        "created": "2026-01-01T00:00:00Z",
        "owner": "root",
        **changes,
    }


def test_table() -> None:
    lines = table(
        [entry(), entry(id="a-long-name", pid=1234567, status="stopped", bundle="/a/long/bundle/path")]
    ).splitlines()
    assert lines == [
        "NAME         PID      STATUS   BUNDLE PATH          CREATED               OWNER",
        "c1           42       running  /b                   2026-01-01T00:00:00Z  root",
        "a-long-name  1234567  stopped  /a/long/bundle/path  2026-01-01T00:00:00Z  root",
    ]


def test_table_of_nothing_is_its_head() -> None:
    assert table([]) == "NAME  PID  STATUS  BUNDLE PATH  CREATED  OWNER\n"


def test_table_has_a_line_for_each_container_whatever_its_bundle_is_called() -> None:
    said = table([entry(bundle="/ä\nb\x1b[2J\u2028\udcff")])
    assert said.splitlines()[1:] == [r"c1    42   running  /ä\nb\x1b[2J\u2028\udcff  2026-01-01T00:00:00Z  root"]


def test_a_path_that_the_state_cannot_name() -> None:
    assert nameable("/ä\n") == "/ä\n"
    with pytest.raises(Error) as caught:
        nameable("/a\udcff\n")
    assert caught.value.message == r"`/a\udcff\n`: the path is not UTF-8"

"""The loader against the standard library's, what it refuses and how, the writer, and reading files."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci_systemd import jsonio
from pyoci_systemd.errors import Error, SpecError
from tests.chance import examples
from tests.unit.bad_documents import NOT_JSON, Bad

# characters that UTF-8 can carry: no surrogates
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)

GOOD: list[tuple[bytes, object]] = [
    (b"{}", {}),
    (b" \t\r\n[] \t\r\n", []),
    (b"null", None),
    (b"true", True),
    (b"-0", 0),
    (b"1.5e2", 150.0),
    (b"18446744073709551615", 2**64 - 1),
    (b'"\\u00e9\\n\\/"', "é\n/"),
    (b'"\xc3\xa9"', "é"),
    (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    (b'"\\\\ud800"', "\\ud800"),
    (b'"a\\u0000b"', "a\0b"),
    (b'{"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}', {"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}),
    (b"[" * 128 + b"]" * 128, None),
    (b'["' + b"[" * 200 + b'"]', ["[" * 200]),
    (b"[" + b"[]," * 200 + b"[]]", [[]] * 201),
]


@pytest.mark.parametrize(("data", "value"), GOOD, ids=lambda item: repr(item)[:20])
def test_good(data: bytes, value: object) -> None:
    expected = json.loads(data) if value is None else value
    for scan in (None, jsonio.stdlib_scanner()):
        found = jsonio.loads(data, "x", scan)
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize("bad", NOT_JSON, ids=lambda bad: bad.name)
def test_both_scanners_refuse_alike(bad: Bad) -> None:
    said = []
    for scan in (None, jsonio.stdlib_scanner()):
        with pytest.raises(SpecError) as caught:
            jsonio.loads(bad.document(), "x.json", scan)
        said.append((caught.value.message, caught.value.hint))
    assert said[0] == said[1]
    assert said[0][0].startswith("x.json: ")
    assert bad.says in said[0][0]


def test_129_levels_are_too_deep() -> None:
    with pytest.raises(SpecError, match=r"^x: over 128 levels deep$"):
        jsonio.loads(b"[" * 129 + b"]" * 129, "x")


def test_the_accelerator_is_used() -> None:
    assert type(jsonio._scan).__module__ == "_json"


@given(VALUES)
def test_loads_what_json_writes(value: object) -> None:
    text = json.dumps(value)
    assert jsonio.loads(text.encode(), "x") == value
    assert jsonio.loads(text.encode(), "x", jsonio.stdlib_scanner()) == value


@examples(150)
@given(st.data())
def test_damaged_documents_get_one_verdict(data: st.DataObject) -> None:
    """A character of JSON put in, or taken out: what we take, json takes too, and both our scanners agree."""
    text = json.dumps(data.draw(VALUES), ensure_ascii=data.draw(st.booleans()))
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 2))
    noise = data.draw(
        st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", ":", "0", "-", ".", "e9999", "\\ud800", "NaN", " ", "\n"])
    )
    document = (text[:at] + noise + text[at + cut :]).encode()
    verdicts = []
    for scan in (None, jsonio.stdlib_scanner()):
        try:
            verdicts.append(repr(jsonio.loads(document, "x", scan)))
        except SpecError as error:
            verdicts.append(error.message)
    assert verdicts[0] == verdicts[1]
    if not verdicts[0].startswith("x: "):
        assert verdicts[0] == repr(json.loads(document))


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b'{\n  "a": 1\n  "b": 2\n}', '  "b": 2\n  ^'),
        (b'{"a": "\t"}', '{"a": " "}\n       ^'),
        (b'{"a": "\x1b[2J\x01", }', '{"a": " [2J ", }\n       ^'),
        (b'"' + b"x" * 5000 + b'" y', "x" * 34 + '" y\n' + " " * 36 + "^"),
        (b'{"a": 1', '{"a": 1\n       ^'),
        (b'{"a": "\xffb"}', '{"a": "\ufffdb"}\n       ^'),
    ],
)
def test_hint_points_at_the_fault(data: bytes, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        jsonio.loads(data, "x")
    # the caret is under the column that the message names, in a line cut to what fits
    lines, expected = caught.value.hint.split("\n"), hint.split("\n")
    assert len(lines) == 2
    assert lines[1] == expected[1]
    assert lines[0].strip() == expected[0].strip()
    assert lines[0].isprintable()


def test_message_about_a_hostile_key_is_one_printable_line() -> None:
    key = '"\\n\\u001b[2J\\u007f\\u009bé"'
    with pytest.raises(SpecError) as caught:
        jsonio.loads(f"{{{key}: 1, {key}: 2}}".encode(), "x")
    assert caught.value.message.isprintable()
    assert "duplicate key" in caught.value.message


# -- writing


@given(VALUES)
def test_dumps_is_json(value: object) -> None:
    assert json.loads(jsonio.dumps(value)) == value
    assert jsonio.dumps(value) == json.dumps(value, ensure_ascii=False)
    for indent in (1, 2, 4):
        assert jsonio.dumps(value, indent) == json.dumps(value, indent=indent, ensure_ascii=False)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "JSON cannot say float nan"),
        (float("inf"), "JSON cannot say float inf"),
        ({1: 2}, "a JSON key must be a string, not int"),
        ([b"x"], "JSON cannot say bytes b'x'"),
        ({"path": "/srv/\udcff"}, r'not valid UTF-8: "{\"path\": \"/srv/\udcff"'),
    ],
)
def test_dumps_refuses(value: object, says: str) -> None:
    with pytest.raises(Error) as caught:
        jsonio.dumps(value)
    assert caught.value.message == says


# -- files


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"a": [1]}')
    assert jsonio.read(str(path)) == {"a": [1]}


def test_read_names_what_it_was_told_to(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"{")
    with pytest.raises(SpecError, match=r"^config\.json: line 1, column 2: "):
        jsonio.read(str(path), "config.json")
    with pytest.raises(SpecError) as caught:
        jsonio.read(str(path))
    assert caught.value.message.startswith(f"{path}: line 1")


def test_read_in_pieces() -> None:
    """A pipe gives less than was asked for."""
    reader, writer = os.pipe()
    data = b'["' + b"x" * 60000 + b'"]'
    assert os.write(writer, data) == len(data)
    os.close(writer)
    try:
        assert jsonio.drain(reader, "standard input", expected=10) == data
    finally:
        os.close(reader)


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "huge", "endless"])
def test_unreadable(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)  # opening it must not wait for a writer
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate((16 << 20) + 1)
    elif kind == "endless":
        path = Path("/dev/zero")
    before = open_fds()
    with pytest.raises(SpecError) as caught:
        jsonio.contents(str(path))
    says = {
        "missing": os.strerror(errno.ENOENT),
        "directory": "not a regular file",
        "fifo": "not a regular file",
        "huge": "over 16 MiB",
        "endless": "not a regular file",
    }
    assert caught.value.message == f"`{path}`: {says[kind]}"
    assert open_fds() == before


def test_file_of_16_mib_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"[]" + b" " * ((16 << 20) - 2))
    assert jsonio.read(str(path)) == []


def test_endless_input_is_refused() -> None:
    with open("/dev/zero", "rb", buffering=0) as zero, pytest.raises(SpecError, match=r"^standard input: over 16 MiB$"):
        jsonio.drain(zero.fileno(), "standard input")


def test_path_with_nul() -> None:
    with pytest.raises(SpecError, match="a path cannot hold NUL"):
        jsonio.contents("/tmp/a\0b")


def test_fallback_without_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "_json", None)
    scan: Any = jsonio._scanner()
    assert jsonio.loads(b'{"a": [1, {"b": null}]}', "x", scan) == {"a": [1, {"b": None}]}
    with pytest.raises(SpecError, match='duplicate key "a"'):
        jsonio.loads(b'{"a": 1, "a": 1}', "x", scan)

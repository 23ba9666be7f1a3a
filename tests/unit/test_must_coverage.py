"""Every MUST of the runtime specification has its test: musts.txt lists them, one a line, and says where each is held.

integration   `test_must_ID` in tests/integration/test_must_*.py, seen from inside a container
unit:NAME     the test NAME in tests/unit: what the machine has no hardware for
"""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
LIST = pathlib.Path(__file__).with_name("musts.txt")
COUNT = 100


class Must(NamedTuple):
    """A line of the list."""

    name: str
    held: str
    words: str


def musts(text: str) -> Iterator[Must]:
    """Yield what the lines of a list say."""
    for line in text.splitlines():
        yield Must(*line.split(None, 2))


def test_names(directory: pathlib.Path, pattern: str, wanted: str = "test_") -> set[str]:
    """Return the names of the tests in the files of a directory, at least of the files that hold a word wanted."""
    texts = [path.read_text() for path in directory.glob(pattern)]
    modules = [ast.parse(text) for text in texts if re.search(wanted, text)]
    return {
        node.name
        for module in modules
        for node in module.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


test_names.__test__ = False  # type: ignore[attr-defined]


def gaps(listed: list[Must], integration: set[str], unit: set[str]) -> list[str]:
    """Return what is missing or too much, one line each."""
    found = []
    for must in listed:
        name = f"test_must_{must.name.replace('-', '_')}"
        if must.held == "integration" and name not in integration:
            found.append(f"{must.name}: no {name}")
        elif must.held.startswith("unit:") and must.held[5:] not in unit:
            found.append(f"{must.name}: no unit test {must.held[5:]}")
        elif must.held != "integration" and not must.held.startswith("unit:"):
            found.append(f"{must.name}: `{must.held}` is no place")
    known = {must.name.replace("-", "_") for must in listed}
    for name in sorted(integration):
        if (said := re.fullmatch(r"test_must_([A-Z]+(?:_[A-Z](?=\d))?\d+)(_.*)?", name)) is None or said[
            1
        ] not in known:
            found.append(f"{name}: names no MUST of the list")
    return found


def test_every_must_has_its_test() -> None:
    listed = list(musts(LIST.read_text()))
    held = "|".join({must.held[5:] for must in listed if must.held.startswith("unit:")})
    unit = test_names(TESTS / "unit", "test_*.py", held)
    assert gaps(listed, test_names(TESTS / "integration", "test_must_*.py"), unit) == []


def test_the_list_is_whole() -> None:
    listed = list(musts(LIST.read_text()))
    assert len({must.name for must in listed}) == len(listed) == COUNT


@pytest.mark.parametrize(
    ("held", "integration", "unit", "found"),
    [
        ("integration", {"test_must_OP_S1"}, set(), []),
        ("integration", {"test_must_OP_S1_more"}, set(), ["OP-S1: no test_must_OP_S1"]),
        ("integration", {"test_must_OP_S1", "test_must_OP_S2"}, set(), ["test_must_OP_S2: names no MUST of the list"]),
        ("unit:test_it", set(), {"test_it"}, []),
        ("unit:test_it", set(), {"test_another"}, ["OP-S1: no unit test test_it"]),
        ("nowhere", set(), set(), ["OP-S1: `nowhere` is no place"]),
    ],
)
def test_a_gap_is_found(held: str, integration: set[str], unit: set[str], found: list[str]) -> None:
    assert gaps([Must("OP-S1", held, "…")], integration, unit) == found

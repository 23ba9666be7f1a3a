"""Every attack, fault and rule that is known has its test: security.txt lists them, one a line.

    NAME  TEST,TEST…  in a few words
    NAME  later:PART  in a few words

A TEST is a function anywhere in the tests. PART is a part of the product that is not there yet: the one way to leave a
line without a test.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.unit.test_must_coverage import test_names

TESTS = pathlib.Path(__file__).resolve().parents[1]
LIST = pathlib.Path(__file__).with_name("security.txt")
PARTS = {"LIMITS", "SERVICE", "SUPERVISION"}
LATER = {"BUS-ENTRIES", "BUS-LIMITS", "BUS-POLICY", "SWEEP"}


class Row(NamedTuple):
    """A line of the list."""

    name: str
    held: str
    words: str


def rows(text: str) -> Iterator[Row]:
    """Yield what the lines of a list say."""
    for line in text.splitlines():
        yield Row(*line.split(None, 2))


def gaps(listed: list[Row], tests: set[str]) -> list[str]:
    """Return what is missing, one line each."""
    found = []
    for row in listed:
        part = row.held.removeprefix("later:")
        if part != row.held:
            found += [] if part in PARTS else [f"{row.name}: no part {part}"]
        else:
            found += [f"{row.name}: no {name}" for name in row.held.split(",") if name not in tests]
    return found


def test_every_row_has_its_test() -> None:
    tests = test_names(TESTS / "integration", "test_*.py") | test_names(TESTS, "**/test_*.py")
    assert gaps(list(rows(LIST.read_text())), tests) == []


def test_the_list_is_whole() -> None:
    listed = list(rows(LIST.read_text()))
    assert len({row.name for row in listed}) == len(listed) > 100
    assert {row.name for row in listed if row.held.startswith("later:")} == LATER


@pytest.mark.parametrize(
    ("held", "tests", "found"),
    [
        ("test_one", {"test_one"}, []),
        ("test_one,test_two", {"test_one"}, ["CVE-1: no test_two"]),
        ("later:LIMITS", set(), []),
        ("later:NEVER", set(), ["CVE-1: no part NEVER"]),
        ("nowhere", {"test_one"}, ["CVE-1: no nowhere"]),
    ],
)
def test_a_gap_is_found(held: str, tests: set[str], found: list[str]) -> None:
    assert gaps([Row("CVE-1", held, "…")], tests) == found

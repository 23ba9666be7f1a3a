"""What is said of a member that is missing, of another type, out of range or another word: its path, and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.spec.load import load
from pyoci_systemd.spec.schema import whole
from tests.unit.bad_documents import Bad
from tests.unit.bad_members import CASES, HOOKS


def section(path: str) -> str:
    """Return the section that a member is of, where it has one: `linux.resources`."""
    return ".".join(path.split(".")[:2]) if path.startswith(("linux.", "process.")) else path.split(".")[0]


def unsaid(bad: Bad) -> list[str]:
    """Return what is wrong with the way in which a case is refused, if anything is."""
    try:
        load(bad.document())
    except SpecError as error:
        # of two that are missing, one is told of in the hint
        said = f"{error.message}\n{error.hint}" if "required" in bad.says else error.message
        good = error.message.startswith("config.json: ") and error.message.isprintable() and bad.says in said
        return [] if good else [f"{bad.name}: {error.message!r} does not say {bad.says!r}"]
    return [f"{bad.name}: passes"]


@pytest.mark.usefixtures("one_judge")
@pytest.mark.parametrize("part", dict.fromkeys(map(section, CASES)))
def test_it_is_said_where_and_what_is_allowed(part: str) -> None:
    assert [line for path in CASES if section(path) == part for bad in CASES[path] for line in unsaid(bad)] == []


def paths(schema: Any, part: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each member of a part of the schema, as the table writes it."""
    while "$ref" in part:
        name = part["$ref"].removeprefix("#")
        part = schema
        for step in name.split("/"):
            part = part[step] if step else part
    yield path
    for key, below in part.get("properties", {}).items():
        yield from paths(schema, below, f"{path}.{key}" if path else key)
    if "items" in part:
        yield from paths(schema, part["items"], path + "[]")
    if isinstance(part.get("additionalProperties"), dict):
        yield from paths(schema, part["additionalProperties"], path + "{}")


def test_the_table_has_every_member_of_the_schema() -> None:
    schema = whole("config")
    assert sorted(CASES) == sorted(set(paths(schema, schema)) - {""})
    assert {path.split(".")[1].removesuffix("[]") for path in CASES if path.startswith("hooks.")} == set(HOOKS)

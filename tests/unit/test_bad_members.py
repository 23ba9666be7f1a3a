"""What is said of a member that is missing, of another type, out of range or another word: its path, and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.spec.load import load
from pyoci_systemd.spec.schema import whole
from tests.unit.bad_members import CASES, HOOKS


@pytest.mark.usefixtures("one_judge")
@pytest.mark.parametrize("path", CASES)
def test_it_is_said_where_and_what_is_allowed(path: str) -> None:
    for bad in CASES[path]:
        with pytest.raises(SpecError) as caught:
            load(bad.document())
        line = caught.value.message
        assert line.startswith("config.json: ")
        assert line.isprintable()
        # of two that are missing, one is told of in the hint
        assert bad.says in (f"{line}\n{caught.value.hint}" if "required" in bad.says else line)


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

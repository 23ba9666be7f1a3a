"""What clients really send: it passes our schema and the official one, and its plan reads like prose.

The plans are tests/goldens/clients/*.txt; test_goldens.py says how they are written anew and what to look for.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

from pyoci_systemd.container.plan import as_text
from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import plan
from pyoci_systemd.spec.load import load, load_process, load_resources
from tests.unit.captured import CLIENTS, CONFIGS, PROCESSES, RESOURCES, captured, stripped
from tests.unit.plans import facts, request
from tests.unit.test_goldens import PROGRAM
from tests.unit.test_spec_official import of_the_old_edition, schema

__all__ = ["schema"]

# what the clients said on the command line rather than in the config
ASKED: dict[str, dict[str, Any]] = {
    "podman-cgroups-disabled": {"manager": "disabled"},
    "podman-no-pivot": {"no_pivot": True},
}
REFUSED = re.compile(
    r"config\.json: ([\w.\[\]]+)(?:: `(.*)` is not supported yet|: cgroup v2 has no such limit| is not supported yet)"
)


def said(name: str) -> str:
    """Return the plan of a captured config; what is refused is said first, and then left out."""
    config, refused = captured(name), ""
    while True:
        try:
            made = plan.make(
                load(json.dumps(config).encode()),
                facts(),
                request(**ASKED.get(name, {})),
                PROGRAM if "seccomp" in config["linux"] else b"",
            )
            return refused + as_text(made)
        except SpecError as error:
            refused += f"refused: {error}\n"
            match = REFUSED.fullmatch(str(error))
            assert match, error
            leave_out(config, *match.groups())


def leave_out(config: Any, path: str, word: str | None) -> None:
    """Take the member at a JSON path out of `config`, or only one word of the list that it is."""
    *steps, last = [int(step) if step.isdecimal() else step for step in re.findall(r"\w+", path)]
    for step in steps:
        config = config[step]
    if word is None:
        del config[last]
        if last == "uidMappings":
            del config["gidMappings"]  # alone it would break a rule
    else:
        config[last].remove(word)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_plan_is_the_golden(name: str) -> None:
    path = CLIENTS / f"{name}.txt"
    if os.environ.get("GOLDENS") == "write":
        path.write_text(said(name))
    assert said(name).splitlines() == path.read_text().splitlines()


def test_there_is_a_plan_for_each_and_no_more() -> None:
    assert {path.stem for path in CLIENTS.glob("*.txt")} == set(CONFIGS)
    assert len(CONFIGS) >= 40


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_of_an_exec_is_valid(name: str) -> None:
    assert load_process(json.dumps(captured(name)).encode())["args"] == ["true"]


@pytest.mark.parametrize("name", RESOURCES)
def test_resources_of_an_update_are_valid(name: str) -> None:
    assert load_resources(json.dumps(captured(name)).encode())


@pytest.mark.thorough
@pytest.mark.parametrize("client", dict.fromkeys(name.split("-")[0] for name in CONFIGS))
def test_the_official_schema_agrees(schema: Any, client: str) -> None:
    ours = [name for name in CONFIGS if name.startswith(f"{client}-")]
    errors = ((name, error) for name in ours for error in schema.iter_errors(of_the_old_edition(captured(name))))
    assert [f"{name}: {error.message}" for name, error in errors] == []


def test_nothing_random_is_kept() -> None:
    texts = {name: (CLIENTS / f"{name}.json").read_text() for name in [*CONFIGS, *PROCESSES, *RESOURCES]}
    assert {name: stripped(text) for name, text in texts.items() if stripped(text) != text} == {}


def test_each_seccomp_section_is_somebodys() -> None:
    named = {json.loads((CLIENTS / f"{name}.json").read_text())["linux"].get("seccomp") for name in CONFIGS}
    assert named - {None} == {path.name for path in (CLIENTS / "seccomp").iterdir()}

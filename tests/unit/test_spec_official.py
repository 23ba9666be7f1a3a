"""A second opinion of our schema: the official one, of the edition that Debian packages.

It is older (1.0.2 and a little), so it knows less, and laxer: the two must agree on what both mean to say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pyoci_systemd.sitepath import enable
from tests.unit.bad_configs import MISSING, WRONG_TYPE, WRONG_VALUE
from tests.unit.bad_documents import NO_OBJECT, Bad
from tests.unit.good_configs import GOOD

PACKAGE = "golang-github-opencontainers-specs-dev"
# where the package is unpacked, when it is not installed
PREFIX = os.environ.get("RUNTIME_SPEC_PREFIX", "/usr")
DIRECTORY = Path(PREFIX, "share/gocode/src/github.com/opencontainers/runtime-spec/schema")

# what ours alone refuses, by the reason why
NEWER_MEMBERS = """
no ioPriority class, no ioPriority priority, no scheduler policy, no memory policy mode, ioPriority 8, nice 20,
net device with a slash, unified out of the cgroup (GHSA-5g49-rx9x-qfc6)
"""
DEMANDED_BY_THE_TEXT = """
no root, no args, no uid, no gid, no throttle rate, no device major, no device minor, no weight, no rdma limit,
no domain, args empty, annotation without a key, masked path relative, read-only path relative, cwd relative, cwd empty,
hook path relative, namespace path relative, unknown rlimit, version 1.0
"""
WRONG_FOR_THE_KERNEL = """
uid that means unchanged, umask 01777, oomScoreAdj 1001, syscall argument 6, mapping of nothing, hostname of 65,
hostname with newline, device access, cpus in words, cwd with NUL, args with NUL, env with NUL, root.path empty,
root.path with NUL, destination empty, source with NUL, mount option with NUL
"""
NEWER = {"no ioPriority class", "no scheduler policy"}
OURS_ALONE = {
    name.strip()
    for names in (NEWER_MEMBERS, DEMANDED_BY_THE_TEXT, WRONG_FOR_THE_KERNEL)
    for name in names.replace("\n", " ").split(",")
}


@pytest.fixture(scope="module")
def schema() -> Any:
    """The official schema as a jsonschema validator."""
    if not DIRECTORY.is_dir():
        pytest.skip(f"needs Debian's package {PACKAGE}")
    enable()
    from jsonschema import Draft4Validator

    return Draft4Validator(inlined(DIRECTORY, DIRECTORY / "config-schema.json", ""))


def inlined(directory: Path, file: Path, inside: str) -> Any:
    """Return the part `inside` of `file` with its references replaced by what they refer to: none is recursive."""

    def replace(node: Any, home: Path) -> Any:
        if isinstance(node, list):
            return [replace(item, home) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            name, _, pointer = node["$ref"].partition("#")
            return inlined(directory, directory / name if name else home, pointer)
        return {key: replace(value, home) for key, value in node.items()}

    part = json.loads(file.read_text())
    for step in filter(None, inside.split("/")):
        part = part[step]
    return replace(part, file)


def without_nulls(value: Any) -> Any:
    """Return `value` as `load` leaves it: the official schema allows no null."""
    pairs = lambda members: {key: member for key, member in members if member is not None}  # noqa: E731
    return json.loads(json.dumps(value), object_pairs_hook=pairs)


def of_the_old_edition(value: Any) -> Any:
    """Return a config without nulls and what is newer: the time namespace, recursive propagation, types in fileMode."""
    config = without_nulls(value)
    linux = config.get("linux", {})
    if "namespaces" in linux:
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "time"]
    if "rootfsPropagation" in linux:
        linux["rootfsPropagation"] = linux["rootfsPropagation"].removeprefix("r")
    for device in linux.get("devices", ()):
        if "fileMode" in device:
            device["fileMode"] &= 0o777
    return config


@pytest.mark.parametrize("name", GOOD)
def test_good_configs_are_good_to_both(schema: Any, name: str) -> None:
    config = of_the_old_edition(GOOD[name])
    assert [error.message for error in schema.iter_errors(config)] == []


@pytest.mark.parametrize(
    "table", [NO_OBJECT, MISSING, WRONG_TYPE, WRONG_VALUE], ids=["no object", "missing", "type", "value"]
)
def test_bad_configs_are_bad_to_both(schema: Any, table: Iterable[Bad]) -> None:
    # NEWER: the edition of Debian 12 does not know the section, that of Debian 13 does
    cases = {bad.name: json.loads(bad.document()) for bad in table if bad.name not in NEWER}
    assert {name for name, config in cases.items() if schema.is_valid(config)} == OURS_ALONE & cases.keys()


def test_the_exceptions_are_cases() -> None:
    assert {bad.name for bad in [*MISSING, *WRONG_VALUE]} >= OURS_ALONE

"""A second opinion of our schema: the official one, of the edition that Debian packages.

It is older (1.0.2 and a little), so it knows less, and laxer: the two must agree on what both mean to say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyoci_systemd.spec import judge
from tests.unit.bad_configs import MISSING, NO_OBJECT, WRONG_TYPE, WRONG_VALUE, Bad
from tests.unit.good_configs import GOOD

PACKAGE = "golang-github-opencontainers-specs-dev"
PLACES = ("/usr", "/tmp/runtime-spec/usr")
INSIDE = "share/gocode/src/github.com/opencontainers/runtime-spec/schema"

# refused by ours alone, and why
STRICTER = {
    # members that the edition does not know
    "ioPriority",
    "scheduler",
    "nice 20",
    "no domain",
    "memory policy",
    "memory bandwidth",
    "net device",
    "unified",
    # the text of the spec demands it, the official schema forgets it
    "no root",
    "no args",
    "no uid",
    "no gid",
    "no throttle rate",
    "args empty",
    "no device major",
    "no device minor",
    "no weight",
    "no rdma limit",
    "annotation without a key",
    "masked path",
    "read-only path",
    "cwd relative",
    "cwd empty",
    "hook path relative",
    "namespace path relative",
    # the kernel would refuse it, or take it for something else
    "NUL",
    "empty",
    "uid that means unchanged",
    "umask",
    "oomScoreAdj",
    "syscall argument 6",
    "mapping of nothing",
    "hostname",
    "unknown rlimit",
    "unknown device type",
    "device access",
    "cpus in words",
    "1.0 for uid",
}


def official() -> Any:
    """Return the official schema as a jsonschema validator, or skip."""
    directory = next((path for path in (Path(place, INSIDE) for place in PLACES) if path.is_dir()), None)
    if directory is None:
        pytest.skip(f"needs Debian's package {PACKAGE}")
    judge.with_site_packages()
    from jsonschema import Draft4Validator

    return Draft4Validator(inlined(directory, directory / "config-schema.json", ""))


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


@pytest.fixture(scope="module")
def schema() -> Any:
    return official()


# written for a kernel or an edition newer than the package's: the official schema of that time refuses them
NEWER = {"podman": ("linux",)}


@pytest.mark.parametrize("name", GOOD)
def test_good_configs_are_good_to_both(schema: Any, name: str) -> None:
    config = without_nulls(GOOD[name])
    if name == "podman":  # newer than the edition: the time namespace, recursive propagation, the file type in fileMode
        linux = config["linux"]
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "time"]
        linux["rootfsPropagation"] = "slave"
        linux["devices"][0]["fileMode"] = 0o666
    assert [error.message for error in schema.iter_errors(config)] == []


@pytest.mark.parametrize("bad", [*NO_OBJECT, *MISSING, *WRONG_TYPE, *WRONG_VALUE], ids=lambda bad: bad.name)
def test_bad_configs_are_bad_to_both(schema: Any, bad: Bad) -> None:
    config = json.loads(bad.document())
    ours_alone = any(word in bad.name for word in STRICTER)
    assert schema.is_valid(config) == ours_alone

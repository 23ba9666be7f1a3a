"""The generated validator and jsonschema: one verdict, from one schema."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci_systemd.spec import formats, generate, judge, validator
from pyoci_systemd.spec.schema import whole
from tests.chance import examples
from tests.unit.good_configs import GOOD, copy

JUDGES = {part: judge.judge(part) for part in ("config", "process", "mounts", "resources")}

# every keyword's edges: types, both sides of each limit, strings that one pattern or another minds
ODDITIES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    5,
    6,
    7,
    8,
    -20,
    -21,
    19,
    20,
    511,
    512,
    1000,
    1001,
    -1000,
    -1001,
    1.0,
    1.5,
    999999999,
    1000000000,
    *(2**bits + step for bits in (16, 31, 32, 63, 64) for step in (-2, -1, 0)),
    *(-(2**bits) + step for bits in (31, 63) for step in (-1, 0)),
    "",
    "/",
    "/a\n",
    "a",
    "a\0",
    "\n",
    "0-3",
    "rwm",
    "r\n",
    "2MB",
    "2MB\n",
    "MB:1",
    "eth0",
    "..",
    "x" * 15,
    "x" * 16,
    "x" * 64,
    "x" * 65,
    "1.0.0",
    "1.0.0\n",
    "pid",
    "c",
    "LINUX",
    "SCMP_ACT_ALLOW",
    "private",
    [],
    {},
    [None],
    ["/a"],
    [1],
    [{}],
    {"a": None},
    {"a.b": "c"},
    {"": ""},
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return (holder, key or index) of every member of `value`, however deep."""
    found: list[tuple[Any, Any]] = []
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(member, dict | list):
            found += places(member)
    return found


def mutate(config: Any, draw: Any) -> None:
    """Change `config` in one place: take away, put something odd, or add a member under a name used elsewhere."""
    holder, key = draw(st.sampled_from(places(config)))
    what = draw(st.sampled_from(["delete", "odd", "odd", "odd", "add", "near"]))
    if what == "delete":
        del holder[key]
    elif what == "near" and type(holder[key]) is int:
        holder[key] += draw(st.sampled_from([-(2**64), -1, 1, 2**32, 2**64]))
    elif what == "near" and type(holder[key]) is str:
        holder[key] += draw(st.sampled_from(["", "\n", "\0", "x", "."]))
    elif what == "add" and isinstance(holder, dict):
        holder[draw(st.sampled_from(NAMES))] = deepcopy(draw(st.sampled_from(ODDITIES)))
    else:
        holder[key] = deepcopy(draw(st.sampled_from(ODDITIES)))


NAMES = sorted({str(key) for config in GOOD.values() for _, key in places(config) if isinstance(key, str)})


@examples(300)
@given(st.data())
def test_one_verdict_on_changed_configs(data: st.DataObject) -> None:
    config = copy(GOOD[data.draw(st.sampled_from(sorted(GOOD)))])
    linux = config.get("linux")
    if linux and linux.get("seccomp"):
        linux["seccomp"]["syscalls"][0]["names"][3:] = []  # most of the places would be there
    for _ in range(data.draw(st.integers(1, 2))):
        mutate(config, data.draw)
    assert validator.valid(config) == JUDGES["config"].is_valid(config)


@examples(200)
@given(st.data())
def test_one_verdict_on_parts(data: st.DataObject) -> None:
    for part, valid, where in (
        ("process", validator.valid_process, "process"),
        ("resources", validator.valid_resources, "linux"),
        ("mounts", validator.valid_mounts, "mounts"),
    ):
        value = copy(GOOD["podman"][where])
        value = value["resources"] if part == "resources" else {"mounts": value} if part == "mounts" else value
        mutate(value, data.draw)
        assert valid(value) == JUDGES[part].is_valid(value)


def slices() -> list[dict[str, Any]]:
    """Return the richest config cut up: each piece a valid config with one member of one section, quick to judge."""
    config = copy(GOOD["podman"])
    config["linux"]["seccomp"]["syscalls"][0]["names"][1:] = []
    bare = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}}
    process, linux = config.pop("process"), config.pop("linux")
    resources = linux.pop("resources")
    required = {name: process[name] for name in ("cwd", "args")}
    return [
        *(bare | {name: value} for name, value in config.items()),
        *(bare | {"process": required | {name: value}} for name, value in process.items()),
        *(bare | {"linux": {name: value}} for name, value in linux.items()),
        *(bare | {"linux": {"resources": {name: value}}} for name, value in resources.items()),
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "value", [None, True, -1, 1.0, 2**32, 2**64, "", "a\0", "a\n", [], [None], {"a": None}], ids=repr
)
def test_one_verdict_on_every_member(value: Any) -> None:
    """Each value in each place of the richest config: what chance may miss."""
    for config in slices():
        config = copy(config)
        for holder, key in places(config):
            before, holder[key] = holder[key], value
            assert validator.valid(config) == JUDGES["config"].is_valid(config), f"{key}: {config}"
            holder[key] = before
        assert validator.valid(config)


PREDICATES = {
    "semver": formats.semver,
    "line": formats.line,
    "cpus": formats.cpus,
    "access": formats.access,
    "page_size": formats.page_size,
    "memory_bandwidth": formats.memory_bandwidth,
    "interface": formats.interface,
    "unified_key": formats.unified_key,
}


def pattern_of(name: str) -> str:
    """Return the pattern of the schema that the generator translates with the predicate `name`."""
    return next(pattern for pattern, code in generate.PATTERNS.items() if f"formats.{name}(" in code)


ALPHABETS = {
    "semver": "019aZ.-+\n ",
    "line": "a\n\0",
    "cpus": "09,- \na",
    "access": "rwmx\n",
    "page_size": "019KMGB\n٣",
    "memory_bandwidth": "MB:\n\0a",
    "interface": "a.:/ \n\x7fé",
    "unified_key": "aA0_.-/\n",
}


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", PREDICATES)
def test_predicates_do_what_the_patterns_say(name: str) -> None:
    pattern, predicate = re.compile(pattern_of(name)), PREDICATES[name]

    @examples(60)
    @given(st.text(ALPHABETS[name], max_size=18) | st.from_regex(pattern) | st.text(max_size=8))
    def agree(text: str) -> None:
        assert predicate(text) == (pattern.search(text) is not None)

    agree()


@pytest.mark.parametrize(
    ("predicate", "good", "bad"),
    [
        (
            formats.semver,
            ["1.0.0", "1.0.0-rc5", "1.2.1-dev+x.1", "10.20.30"],
            ["1.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "v1.0.0"],
        ),
        (formats.interface, ["eth0", "br-0", "wlan0.1", "data%d"], ["", ".", "..", "a/b", "a b", "a:0", "a" * 16]),
        (
            formats.unified_key,
            ["memory.high", "hugetlb.2MB.max", "cpu.weight.nice"],
            ["", "memory", ".max", "memory.", "memory..max", "../memory.max", "a/b.c"],
        ),
        (formats.page_size, ["2MB", "1GB", "64KB"], ["2M", "MB", "02MB", "2TB", "-2MB", "²MB"]),
    ],
)
def test_predicates_by_hand(predicate: Any, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not predicate(text)] == []
    assert [text for text in bad if predicate(text)] == []


# -- the generator


def test_the_validator_is_that_of_the_schema() -> None:
    source = Path(validator.__file__).read_text()
    assert source == generate.Generator(whole()).module(), "stale: `make build`"


def test_every_pattern_of_the_table_is_used() -> None:
    used = re.findall(r"'pattern': ('[^']*')", repr(whole()))
    assert {eval(text) for text in used} == generate.PATTERNS.keys() == judge.PATTERNS.keys() | {pattern_of("semver")}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "patternProperties": {}},
        {"type": "object", "properties": {"a": {"type": "string", "format": "uri"}}},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}, "propertyNames": {}},
        {"type": ["string", "integer"]},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"$ref": "#/$defs/other", "minimum": 1},
    ],
)
def test_a_keyword_that_is_not_translated_is_an_error(schema: dict[str, Any]) -> None:
    parts = dict.fromkeys(("config", "process", "mounts", "resources"), schema)
    with pytest.raises(ValueError, match="not translated|must be one type"):
        generate.Generator({"$defs": parts | {"other": {"type": "boolean"}}}).module()


def test_generate_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "validator.py"
    assert generate.main([str(path)]) == 0
    assert path.read_text() == generate.Generator(whole()).module()
    assert generate.main([]) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["validator.py"]

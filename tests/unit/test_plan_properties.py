"""The scope: names and slices for every form of cgroupsPath, and the properties in their order."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import managers, overrides, properties, resources
from pyoci_systemd.plan.marker import marker
from tests.unit.plans import config, request


def at(path: str | None) -> Any:
    return config(linux={} if path is None else {"cgroupsPath": path})


def refusal(path: str, container_id: str = "c1") -> str:
    with pytest.raises(SpecError) as caught:
        properties.unit_and_slice(at(path), container_id)
    return caught.value.message


# -- features.md, 1-S.1: what the peers make of cgroupsPath, with our prefix in the place of theirs

NAMES = {
    None: ("pyoci-c1.scope", ""),
    "": ("pyoci-c1.scope", ""),
    "machine.slice:libpod:0123abcd": ("libpod-0123abcd.scope", "machine.slice"),
    "user.slice:libpod:0123abcd": ("libpod-0123abcd.scope", "user.slice"),
    "system.slice:docker:3f4e": ("docker-3f4e.scope", "system.slice"),
    "kubepods-besteffort-pod4f_1.slice:cri-containerd:9a": (
        "cri-containerd-9a.scope",
        "kubepods-besteffort-pod4f_1.slice",
    ),
    "kubepods-burstable.slice:crio:abc": ("crio-abc.scope", "kubepods-burstable.slice"),
    ":docker:3f4e": ("docker-3f4e.scope", ""),
    "::c1": ("c1.scope", ""),
    ":c1": ("c1.scope", ""),
    "a.slice:name": ("name.scope", "a.slice"),
    "a.slice::name": ("name.scope", "a.slice"),
    "-.slice:a:b": ("a-b.scope", "-.slice"),
    # the first `:` after the slice becomes `-`, later ones stay
    "a.slice:b:c:d": ("b-c:d.scope", "a.slice"),
    # what systemd.unit(5) does not allow in a name is escaped
    "a.slice:b:c/d": (r"b-c\x2fd.scope", "a.slice"),
    "a.slice:b:c d": (r"b-c\x20d.scope", "a.slice"),
    "a.slice:b:é": (r"b-\xc3\xa9.scope", "a.slice"),
    r"a.slice:b:c\d": (r"b-c\x5cd.scope", "a.slice"),
    "a.slice:b:c@d": (r"b-c\x40d.scope", "a.slice"),
    # the slice as systemd itself writes it, for a path with a `-` in a component
    r"a\x2db.slice:c:d": ("c-d.scope", r"a\x2db.slice"),
}


@pytest.mark.parametrize("path", NAMES)
def test_names(path: str | None) -> None:
    assert properties.unit_and_slice(at(path), "c1") == NAMES[path]


@pytest.mark.parametrize(("container_id", "unit"), [
    ("c1", "pyoci-c1.scope"),
    ("a_b.c-d", "pyoci-a_b.c-d.scope"),
    ("a+b", r"pyoci-a\x2bb.scope"),
    ("x.slice", "pyoci-x.slice.scope"),
    ("x" * 200, f"pyoci-{'x' * 200}.scope"),
])  # fmt: skip
def test_unit_of_an_id(container_id: str, unit: str) -> None:
    assert properties.unit_and_slice(at(None), container_id) == (unit, "")


@pytest.mark.parametrize("path", ["a.slice", "/a/b", "a.slice:", "a.slice::", ":", "::", "a.slice:::"])
def test_no_name_in_it(path: str) -> None:
    assert refusal(path) == f"config.json: linux.cgroupsPath: `{path}` is not of the form `slice:prefix:name`"


@pytest.mark.parametrize(("path", "name"), [
    ("a.slice:b:c.slice", "b-c.slice"), ("a.slice::a-b.slice", "a-b.slice"), (":a.slice", "a.slice"),
])  # fmt: skip
def test_no_container_is_a_slice(path: str, name: str) -> None:
    """StartTransientUnit takes no PIDs for one: `Cannot set property PIDs, or unknown property`. runc says no more."""
    told = f"config.json: linux.cgroupsPath: `{name}` is the name of a slice, and these hold no processes: "
    assert refusal(path) == told + "a container's unit is a scope"


@pytest.mark.parametrize("parent", [
    "a", "a.scope", "a.slice.d", "a/b.slice", "a b.slice", "é.slice", "a--b.slice", "a.slice\n", "/a.slice",
    ".slice", "-a.slice", "a-.slice", r"a\b.slice",
])  # fmt: skip
def test_no_slice(parent: str) -> None:
    """systemd.slice(5): dashes are the hierarchy, so none may stand at an end or beside another."""
    assert refusal(f"{parent}:b:c").startswith(f"config.json: linux.cgroupsPath: `{parent}` is not the name of a slice")


def test_longest_name() -> None:
    """A unit name has 255 characters at the most (systemd.unit(5))."""
    prefix, suffix = "a.slice:b:", ".scope"
    longest = 255 - len("b-") - len(suffix)
    unit, _ = properties.unit_and_slice(at(prefix + "x" * longest), "c1")
    assert len(unit) == 255
    message = refusal(prefix + "x" * (longest + 1))
    assert message.startswith("config.json: linux.cgroupsPath: the unit name `b-xxx")
    assert message.endswith("` is longer than 255")
    assert len(message) < 160


def test_an_id_that_makes_no_unit_name_is_the_culprit_itself() -> None:
    """The longest id of `+`, each of which takes four characters: without a cgroupsPath none is to blame."""
    with pytest.raises(SpecError) as caught:
        properties.unit_and_slice(at(None), "+" * 200)
    assert "longer than 255" in caught.value.message
    assert "cgroupsPath" not in caught.value.message


@pytest.mark.parametrize(("text", "escaped"), [
    ("", ""),
    ("abcXYZ019:-_.", "abcXYZ019:-_."),
    (" ", r"\x20"),
    ("/", r"\x2f"),
    ("\\", r"\x5c"),
    ("+", r"\x2b"),
    ("ü", r"\xc3\xbc"),
    ("€", r"\xe2\x82\xac"),
    ("\n", r"\x0a"),
])  # fmt: skip
def test_escape(text: str, escaped: str) -> None:
    assert properties.escape(text) == escaped


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="systemd-escape is not installed")
@pytest.mark.parametrize("text", ["a b", "a\\b", "+", "x=y", "ünï", "a:b_c.d", "tab\there", "@"])
def test_escape_is_systemd_s(text: str) -> None:
    """But for `-` and `/`, which systemd-escape(1) takes for a path's, and a leading dot."""
    theirs = subprocess.run(["systemd-escape", "--", text], capture_output=True, text=True, check=True, timeout=5)
    assert properties.escape(text) == theirs.stdout.rstrip("\n")


@pytest.mark.parametrize(("path", "asked", "manager"), [
    (None, "auto", "systemd"),
    ("", "auto", "systemd"),
    ("a.slice:b:c", "auto", "systemd"),
    ("/plain/path", "auto", "cgroupfs"),
    ("plain", "auto", "cgroupfs"),
    ("/plain", "systemd", "systemd"),
    ("a.slice:b:c", "cgroupfs", "cgroupfs"),
    (None, "disabled", "disabled"),
])  # fmt: skip
def test_manager(path: str | None, asked: str, manager: str) -> None:
    assert managers.manager(at(path), asked) == manager


# -- the description

CRI, CRI_IMAGE = "io.kubernetes.cri.container-name", "io.kubernetes.cri.image-name"
OCI_IMAGE, OCI_BASE = "org.opencontainers.image.ref.name", "org.opencontainers.image.base.name"


@pytest.mark.parametrize(("args", "annotations", "text"), [
    (["sleep", "10"], {}, "container c1: sleep 10"),
    ([], {}, "container c1"),
    (["sh"], {OCI_IMAGE: "debian:12"}, "container c1: debian:12"),
    (["sh"], {OCI_BASE: "debian:12"}, "container c1: debian:12"),
    (["sh"], {OCI_BASE: "base", OCI_IMAGE: "image", CRI_IMAGE: "cri"}, "container c1: cri"),
    (["sh"], {CRI: "web", CRI_IMAGE: "nginx"}, "container web (c1): nginx"),
    (["sh"], {CRI: "web"}, "container web (c1): sh"),
    ([], {CRI: "web"}, "container web (c1)"),
    (["sh", "-c", "a\nb\tc\x1b[31m\x00"], {}, "container c1: sh -c a b c [31m "),
    (["é", "日本"], {}, "container c1: é 日本"),
])  # fmt: skip
def test_description(args: list[str], annotations: dict[str, str], text: str) -> None:
    made = config(process={"args": args}, annotations=annotations)
    assert properties.description(made, request()) == text


def test_description_is_one_short_line() -> None:
    made = config(process={"args": ["x" * 100_000]})
    assert len(properties.description(made, request())) == 200


def test_description_without_a_process() -> None:
    assert properties.description({"ociVersion": "1.0.0", "root": {"path": "r"}}, request()) == "container c1"


# -- the marker


@pytest.mark.parametrize(("state_dir", "expected"), [
    ("/run/pyoci/c1", "file:/run/pyoci/c1"),
    ("/run/user/1000/pyoci/a+b", "file:/run/user/1000/pyoci/a+b"),
    ("/run/a b/c1", "file:/run/a%20b/c1"),
    ("/run/50%/c1", "file:/run/50%25/c1"),
    ("/run/é/c1", "file:/run/%C3%A9/c1"),  # RFC 3986: the bytes of UTF-8
    ("/run/€/c1", "file:/run/%E2%82%AC/c1"),
])  # fmt: skip
def test_marker(state_dir: str, expected: str) -> None:
    assert marker(state_dir) == expected


def test_markers_of_two_places_differ() -> None:
    places = ["/run/€/c", "/run/ AC/c", "/run/%20AC/c", "/run/%E2%82%AC/c", "/run/e/c"]
    assert len({marker(place) for place in places}) == len(places)


# -- all of them


def plan(made: Any, **changes: Any) -> tuple[tuple[str, str, object], ...]:
    asked = request(**changes)
    limits = resources.properties(made["linux"].get("resources", {}))
    return properties.plan(made, asked, overrides.plan(made, asked.properties), limits)


def test_properties_in_order() -> None:
    made = config(
        linux={
            "cgroupsPath": "machine.slice:libpod:0123",
            "resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 7}, "memory": {"limit": 9}},
        },
        annotations={"org.systemd.property.TimeoutStopUSec": "uint64 10000000", "org.systemd.property.KillSignal": "2"},
    )
    planned = plan(made)
    assert isinstance(planned, tuple)
    *fixed, (allow_name, allow_type, _) = planned
    assert fixed == [
        ("Description", "s", "container c1: sh"),
        ("DefaultDependencies", "b", False),
        ("CollectMode", "s", "inactive-or-failed"),
        ("TimeoutStopUSec", "t", 10_000_000),
        ("KillSignal", "i", 2),
        ("Documentation", "as", ["man:pyoci(1)", "file:/run/pyoci/c1"]),
        ("SourcePath", "s", "/b/config.json"),
        ("Slice", "s", "machine.slice"),
        ("Delegate", "b", True),
        ("PIDs", "au", []),
        ("CPUAccounting", "b", True),
        ("MemoryAccounting", "b", True),
        ("IOAccounting", "b", True),
        ("TasksAccounting", "b", True),
        ("MemoryMax", "t", 9),
        ("TasksMax", "t", 7),
        ("DeviceAllow", "a(ss)", []),
        ("DevicePolicy", "s", "strict"),
    ]
    assert (allow_name, allow_type) == ("DeviceAllow", "a(ss)")


def test_least_properties() -> None:
    names = [name for name, _, _ in plan(config())]
    assert names == [
        "Description", "CollectMode", "Documentation", "SourcePath", "Delegate", "PIDs",
        "CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting",
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "attended", "apart"), [
    ("", False, False), ("", True, True), ("machine.slice:libpod:0123", False, True),
])  # fmt: skip
def test_who_stops_it_when_the_host_goes_down(path: str, attended: bool, apart: bool) -> None:
    """systemd, unless the runtime stays or a client has chosen its place."""
    planned = plan(config(linux={"cgroupsPath": path}), attended=attended)
    assert (("DefaultDependencies", "b", False) in planned) is apart


def test_source_path_is_where_the_config_was_read() -> None:
    planned = plan(config(), config_path="/elsewhere/c.json")
    made = {name: value for name, _, value in planned}
    assert made["SourcePath"] == "/elsewhere/c.json"


@pytest.mark.parametrize("path", ["/b\n[Scope]/config.json", "/b\x1b[m/c.json", "/b\u2028/c.json"])
def test_no_line_of_the_unit_s_file_is_written_by_a_path(path: str) -> None:
    planned = plan(config(), config_path=path)
    assert "SourcePath" not in [name for name, _, _ in planned]


@pytest.mark.parametrize(("name", "text", "value"), [
    ("Description", "'mine'", "mine"),
    ("DefaultDependencies", "true", True),
    ("CollectMode", "'inactive'", "inactive"),
])  # fmt: skip
def test_an_annotation_replaces_a_property_of_ours(name: str, text: str, value: object) -> None:
    planned = plan(config(annotations={f"org.systemd.property.{name}": text}))
    assert [entry for entry in planned if entry[0] == name] == [
        (name, planned[[n for n, _, _ in planned].index(name)][1], value)
    ]


def test_no_annotation_comes_after_identity() -> None:
    made = config(
        annotations={"org.systemd.property.After": "['a.service']", "org.systemd.property.Description": "'x'"}
    )
    names = [name for name, _, _ in plan(made)]
    assert max(names.index("After"), names.index("Description")) < names.index("Documentation")
    assert len(names) == len(set(names))

"""`pyoci features` against the plan: what is listed is accepted, what is accepted is listed (features.md, FT3, FT4).

Each claim is put into a config, and the config is judged and planned as `create` would.
"""

from __future__ import annotations

import ast
import copy
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

import pyoci_systemd
from pyoci_systemd.container import features
from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import ops, plan, seccomp
from pyoci_systemd.spec.load import load
from tests.unit.plans import config, facts, request

PACKAGE = pathlib.Path(pyoci_systemd.__file__).parent
SCHEMA = PACKAGE / "spec/schema"
DOCUMENT = features.document()
LINUX = DOCUMENT["linux"]
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def planned(asked: Any) -> plan.Plan:
    """Judge and plan a config as `create` would. Raises SpecError."""
    whole = load(json.dumps({"mounts": [], **asked}).encode())
    return plan.make(whole, facts(), request())


def accepted(asked: Any) -> bool:
    try:
        made = planned(asked)
    except SpecError:
        return False
    return not made.warnings


def words_of_schema(file: str, *path: str) -> list[str]:
    """Return the words that the schema allows at one place: an enum, of an array's items too."""
    value: Any = json.loads((SCHEMA / file).read_text())
    for key in path:
        value = value[key]
    while "enum" not in value:
        value = value["items"]
    return sorted(value["enum"])


# -- the form


STRUCTURE: dict[str, Any] = {
    # features.md and features-linux.md of runtime-spec 1.3: every member that this platform has, and its type
    "ociVersionMin": str, "ociVersionMax": str, "hooks": [str], "mountOptions": [str],
    "linux": {
        "namespaces": [str], "capabilities": [str],
        "cgroup": {"v1": bool, "v2": bool, "systemd": bool, "systemdUser": bool, "rdma": bool},
        "seccomp": {
            "enabled": bool, "actions": [str], "operators": [str], "archs": [str], "knownFlags": [str], "supportedFlags": [str],
        },
        "apparmor": {"enabled": bool}, "selinux": {"enabled": bool},
        "intelRdt": {"enabled": bool, "schemata": bool, "monitoring": bool},
        "memoryPolicy": {"modes": [str], "flags": [str]},
        "mountExtensions": {"idmap": {"enabled": bool}}, "netDevices": {"enabled": bool},
    },
    "annotations": {}, "potentiallyUnsafeConfigAnnotations": [str],
}  # fmt: skip


def test_form() -> None:
    """FT1: only what the specification defines, all of it, and nothing that is null."""

    def check(value: Any, wanted: Any, where: str) -> None:
        if isinstance(wanted, list):
            assert isinstance(value, list), where
            assert len(value) == len(set(value)), where
            for item in value:
                assert isinstance(item, wanted[0]), where
        elif wanted == {}:
            assert all(isinstance(item, str) for pair in value.items() for item in pair), where
        elif isinstance(wanted, dict):
            assert value.keys() == wanted.keys(), where
            for key in wanted:
                check(value[key], wanted[key], f"{where}.{key}")
        else:
            assert isinstance(value, wanted), where

    wanted = copy.deepcopy(STRUCTURE)
    if not LINUX["seccomp"]["enabled"]:
        wanted["linux"]["seccomp"] = {"enabled": bool}
    check(DOCUMENT, wanted, "features")


def test_lists_are_sorted() -> None:
    """But for the hooks, which are in the order of a container's life."""

    def walk(value: Any, name: str) -> None:
        if isinstance(value, list) and name != "hooks":
            assert value == sorted(value), name
        for key, inner in value.items() if isinstance(value, dict) else ():
            walk(inner, key)

    walk(DOCUMENT, "")


# -- lists


@pytest.mark.parametrize("kind", DOCUMENT["hooks"])
def test_hook(kind: str) -> None:
    assert accepted(config(hooks={kind: [{"path": "/bin/true"}]}))


def test_hooks_are_the_schema_s() -> None:
    schema = json.loads((SCHEMA / "config.json").read_text())
    assert sorted(DOCUMENT["hooks"]) == sorted(schema["properties"]["hooks"]["properties"])


@pytest.mark.parametrize("kind", LINUX["namespaces"])
def test_namespace(kind: str) -> None:
    mappings = {"uidMappings": MAPPING, "gidMappings": MAPPING} if kind == "user" else {}
    spaces = [{"type": space} for space in sorted({"mount", kind})]
    assert accepted(config(linux={"namespaces": spaces, **mappings}))


def test_namespaces_are_the_schema_s() -> None:
    path = ("properties", "namespaces", "items", "properties", "type")
    assert LINUX["namespaces"] == words_of_schema("linux.json", *path)


def test_capabilities() -> None:
    """One that is not known is no error, but said (PRC7)."""
    names = LINUX["capabilities"]
    have = [
        name for name in names if accepted(config(process={"capabilities": {"bounding": [name], "permitted": [name]}}))
    ]
    assert have == names
    near = [f"{name}_" for name in names]
    assert [name for name in near if accepted(config(process={"capabilities": {"bounding": [name]}}))] == []


def mounted(option: str) -> list[ops.Op]:
    """Return the ops of a mount with one option."""
    mount: dict[str, Any] = {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option]}
    if option in ("bind", "rbind", "idmap", "ridmap", "src-nofollow", "copy-symlink", "remount"):
        mount |= {"type": "bind", "source": "/srv", "options": [*{"bind", option}]}
    spaces = [{"type": "mount"}, {"type": "user"}]
    whole = config(linux={"namespaces": spaces, "uidMappings": MAPPING, "gidMappings": MAPPING}, mounts=[mount])
    return planned(whole).ops


def test_mount_options() -> None:
    """They are understood: what is not would be handed to the filesystem, which may do something else with it."""
    from pyoci_systemd.plan.mounts import _PARAMETER_WORDS

    def handed_on(option: str) -> bool:
        data = [op.data for op in mounted(option) if isinstance(op, ops.Mount) and op.target == "/mnt"]
        return any(option in given for given in data)

    assert [name for name in DOCUMENT["mountOptions"] if handed_on(name) and name not in _PARAMETER_WORDS] == []


def test_mount_options_are_all_there_are() -> None:
    """Those that every runtime knows, by the specification's table; what nobody knows is the filesystem's."""
    known = """async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec
        noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private rbind rdev rexec rnoatime rnodev
        rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave
        rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync unbindable
        relatime remount ratime rdiratime src-nofollow dest-nofollow""".split()
    assert set(known) <= set(DOCUMENT["mountOptions"])
    (op,) = (op for op in mounted("nonsense") if isinstance(op, ops.Mount) and op.target == "/mnt")
    assert op.data == ["nonsense"]


@pytest.mark.parametrize("mode", LINUX["memoryPolicy"]["modes"])
def test_memory_mode(mode: str) -> None:
    assert any(accepted(config(linux={"memoryPolicy": {"mode": mode, **more}})) for more in ({}, {"nodes": "0"}))


@pytest.mark.parametrize("flag", LINUX["memoryPolicy"]["flags"])
def test_memory_flag(flag: str) -> None:
    assert accepted(config(linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}}))


def test_memory_policy_is_the_schema_s() -> None:
    path = ("properties", "memoryPolicy", "properties")
    assert LINUX["memoryPolicy"]["modes"] == words_of_schema("linux.json", *path, "mode")
    assert LINUX["memoryPolicy"]["flags"] == words_of_schema("linux.json", *path, "flags")


# -- seccomp


def probes() -> Iterator[tuple[str, str, Any]]:
    """Yield every word about filters, and a section that holds it."""
    listed = LINUX["seccomp"]
    let = {"names": ["read", "sendmsg"], "action": "SCMP_ACT_ALLOW"}
    for word in listed.get("actions", ()):
        more = {"listenerPath": "/s"} if word == "SCMP_ACT_NOTIFY" else {}
        yield (
            "action",
            word,
            {"defaultAction": "SCMP_ACT_LOG", "syscalls": [let, {"names": ["acct"], "action": word}], **more},
        )
        yield "default action", word, {"defaultAction": word, "syscalls": [let], **more}
    for word in listed.get("operators", ()):
        call = {"names": ["acct"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 1, "op": word}]}
        yield "operator", word, {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [call]}
    for word in listed.get("archs", ()):
        yield "architecture", word, {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [word], "syscalls": [let]}
    for word in listed.get("knownFlags", ()):
        yield "flag", word, {"defaultAction": "SCMP_ACT_ALLOW", "flags": [word], "syscalls": [let]}


@pytest.mark.parametrize(("kind", "word", "section"), probes())
def test_seccomp(kind: str, word: str, section: Any) -> None:
    from pyoci_systemd.container import compiler

    assert accepted(config(linux={"seccomp": section}))
    assert len(compiler.compile_filter(seccomp.make_filter(section))) >= 8


def test_seccomp_is_the_schema_s() -> None:
    listed = LINUX["seccomp"]
    if not listed["enabled"]:
        pytest.skip("libseccomp2 is not installed")
    calls = ("properties", "syscalls", "items", "properties")
    assert listed["actions"] == words_of_schema("seccomp.json", "$defs", "action")
    assert listed["operators"] == words_of_schema("seccomp.json", *calls, "args", "items", "properties", "op")
    assert listed["archs"] == words_of_schema("seccomp.json", "properties", "architectures")
    assert listed["knownFlags"] == words_of_schema("seccomp.json", "properties", "flags")
    assert set(listed["supportedFlags"]) <= set(listed["knownFlags"])


# -- yes and no


CLAIMS: list[tuple[bool, Any]] = [
    (LINUX["netDevices"]["enabled"], config(linux={
        "netDevices": {"eth0": {"name": "eth1"}}, "namespaces": [{"type": "mount"}, {"type": "network"}],
    })),
    (LINUX["intelRdt"]["enabled"], config(linux={"intelRdt": {"closID": "c"}})),
    (LINUX["intelRdt"]["schemata"], config(linux={"intelRdt": {"schemata": ["L3:0=1"]}})),
    (LINUX["intelRdt"]["monitoring"], config(linux={"intelRdt": {"enableMonitoring": True}})),
    (LINUX["cgroup"]["rdma"], config(linux={"resources": {"rdma": {"mlx5_1": {"hcaHandles": 1}}}})),
    # FT4
    (LINUX["mountExtensions"]["idmap"]["enabled"], config(
        mounts=[{
            "destination": "/mnt", "type": "bind", "source": "/srv", "options": ["bind", "idmap"],
            "uidMappings": MAPPING, "gidMappings": MAPPING,
        }],
    )),
]  # fmt: skip


@pytest.mark.parametrize(("claim", "asked"), CLAIMS)
def test_claim(claim: bool, asked: Any) -> None:
    assert accepted(asked) is claim


def test_labels() -> None:
    """FT3: recognised, also where the host has none and a config that asks for one is refused for that."""
    for member, module in (("selinuxLabel", "selinux"), ("apparmorProfile", "apparmor")):
        made = plan.make(config(process={member: "x"}), facts(selinux=True, apparmor="unconfined"), request())
        assert LINUX[module]["enabled"]
        assert any("x" in op.values() or "exec x" in op.values() for op in made.ops), member


# -- annotations


def annotations_read() -> set[str]:
    """Return the annotations that the package looks for, prefixes with a dot at the end included."""
    found = set()
    prefixes = ("run.oci.", "org.systemd.", "org.criu.", "org.pyoci.fdstore", "org.pyoci.machine")
    for source in (path.read_text() for path in PACKAGE.rglob("*.py")):
        nodes = ast.walk(ast.parse(source)) if any(prefix in source for prefix in prefixes) else ()
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
                found |= {node.value} if node.value.startswith(prefixes) else set()
    return found


def test_every_annotation_that_does_something_is_unsafe() -> None:
    """F065: whoever lets strangers write annotations must know which act on the host."""
    read = annotations_read()
    assert {"run.oci.seccomp.receiver", "org.systemd.property."} <= read
    unsafe = DOCUMENT["potentiallyUnsafeConfigAnnotations"]
    covered = {
        name for name in read for entry in unsafe if name == entry or entry[-1] == "." and name.startswith(entry)
    }
    assert read == covered

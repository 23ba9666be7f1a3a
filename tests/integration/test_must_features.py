"""The MUSTs of features.md and features-linux.md: what the runtime says of itself is so, seen in containers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container, Run
from tests.integration.must_scene import add_namespace, crun_does_not, user_namespace
from tests.unit.bad_documents import Change

Features = dict[str, Any]
FAMILIES = {
    "ociVersionMin",
    "ociVersionMax",
    "hooks",
    "mountOptions",
    "linux",
    "annotations",
    "potentiallyUnsafeConfigAnnotations",
}
LINUX = {
    "namespaces",
    "capabilities",
    "cgroup",
    "seccomp",
    "apparmor",
    "selinux",
    "intelRdt",
    "mountExtensions",
    "netDevices",
    "memoryPolicy",
}


@pytest.fixture
def features(run: Run) -> Features:
    """Return what the runtime says of itself."""
    said: Features = json.loads(run("features", check=True).stdout)
    return said


def leaves(value: Any) -> list[Any]:
    """Return everything in a document that is not an object."""
    return [it for member in value.values() for it in leaves(member)] if isinstance(value, dict) else [value]


def test_must_FT1(features: Features) -> None:
    """Only properties of the specification; null is never said for a list that is empty."""
    assert set(features) <= FAMILIES
    assert set(features["linux"]) <= LINUX
    assert None not in leaves(features)


def test_must_FT2(features: Features, container: Container) -> None:
    """Both versions are there and in order."""
    first, last = (features[f"ociVersion{which}"].split("+")[0] for which in ("Min", "Max"))
    assert [int(it) for it in first.split(".")] <= [int(it) for it in last.split(".")]


@pytest.mark.parametrize("which", ["ociVersionMin", "ociVersionMax"])
def test_must_FT2_accepted(features: Features, container: Container, which: str) -> None:
    container.config["ociVersion"] = features[which]
    assert container.says("echo inside") == "inside"


# What asks for something that features lists: `seccomp.actions` is a member of `linux`.
def rule(**members: Any) -> Change:
    """Return the change that adds a rule for a call that nobody makes."""

    def change(config: dict[str, Any]) -> None:
        entry = {"names": ["quotactl"], "action": "SCMP_ACT_LOG", **members}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]}

    return change


def profile(**members: Any) -> Change:
    """Return the change that adds a profile which allows everything."""

    def change(config: dict[str, Any]) -> None:
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [], **members}

    return change


def capability(name: str) -> Change:
    """Return the change that gives one capability alone."""

    def change(config: dict[str, Any]) -> None:
        config["process"]["capabilities"] = {"bounding": [name]}

    return change


def policy(**members: Any) -> Change:
    """Return the change that sets a memory policy."""

    def change(config: dict[str, Any]) -> None:
        config["linux"]["memoryPolicy"] = members

    return change


def mode_of(name: str) -> Change:
    # two modes take no nodes, the others need some
    return policy(mode=name) if name in ("MPOL_DEFAULT", "MPOL_LOCAL") else policy(mode=name, nodes="0")


CLAIMS: dict[str, Callable[[str], Change]] = {
    "capabilities": capability,
    "seccomp.actions": lambda name: rule(action=name),
    "seccomp.archs": lambda name: profile(architectures=[name]),
    "seccomp.knownFlags": lambda name: profile(flags=[name]),
    "seccomp.operators": lambda name: rule(args=[{"index": 0, "value": 1, "valueTwo": 1, "op": name}]),
    "seccomp.supportedFlags": lambda name: profile(flags=[name]),
    "memoryPolicy.modes": mode_of,
    "memoryPolicy.flags": lambda name: policy(mode="MPOL_BIND", nodes="0", flags=[name]),
}
# Asks an agent, of which there is none here: test_must_SEC3 is about that.
ELSEWHERE = {"SCMP_ACT_NOTIFY"}


def claimed(features: Features, where: str) -> list[str]:
    """Return a list of features.linux."""
    value: Any = features["linux"]
    for key in where.split("."):
        value = value.get(key, {})
    return [name for name in value or [] if name not in ELSEWHERE]


@pytest.mark.parametrize("where", CLAIMS)
def test_must_FT3(features: Features, container: Container, where: str) -> None:
    """What is listed is recognised: a container that asks for it runs, and nothing is said."""
    original, refused = json.dumps(container.config), {}
    if not (names := claimed(features, where)):
        assert CRUN, f"nothing is listed in {where}"
    for name in names:
        container.bundle.config = json.loads(original)
        CLAIMS[where](name)(container.bundle.config)
        container.bundle.args("true")
        done = container.run("--log-level=warning", "run", "--bundle", container.bundle.path, container.name)
        # a word that is only warned about is not recognised either
        if done.returncode or "unknown" in done.stderr:
            refused[name] = done.stderr
    assert refused == {}


NAMESPACES = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]


@crun_does_not("says nothing of `time` (D8)")
def test_must_FT3_namespaces(features: Features, container: Container) -> None:
    assert sorted(features["linux"]["namespaces"]) == NAMESPACES
    user_namespace(container.bundle)
    add_namespace(container.bundle, "time")
    said = container.says("for it in /proc/self/ns/*; do readlink $it; done").splitlines()
    kinds = {"network": "net", "mount": "mnt"}
    for kind in NAMESPACES:
        [one] = {line for line in said if line.startswith(f"{kinds.get(kind, kind)}:")}
        assert one


PROPAGATION = {"shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"}
NOT_ALONE = {
    "bind",
    "rbind",
    "remount",
    "idmap",
    "ridmap",
    "tmpcopyup",
    "copy-symlink",
    "src-nofollow",
    "dest-nofollow",
}


@crun_does_not("lists rdiratime, which fails")
def test_must_FT3_mount_options(features: Features, container: Container) -> None:
    """Each word of mountOptions is understood on a mount of its own: taken for data, it would be an error."""
    words = [
        word for word in features["mountOptions"] if word not in NOT_ALONE | {"mand", "nomand", "rmand", "rnomand"}
    ]
    assert {"ro", "nosuid", "noexec", "nodev"} <= set(words)
    for word in words:
        entry = {"destination": f"/tmp/{word}", "type": "tmpfs", "source": "tmpfs", "options": [word]}
        if word in PROPAGATION or word.startswith("r"):
            entry |= {"source": "/etc", "options": ["rbind", word]}
        container.config["mounts"].append(entry)
    container.config["root"]["readonly"] = False
    assert set(container.says("ls /tmp").split()) == set(words)


@pytest.mark.parametrize(
    "word", ["idmap", "ridmap", "tmpcopyup", "bind", "rbind", "copy-symlink", "src-nofollow", "dest-nofollow"]
)
def test_must_FT3_mount_options_with(features: Features, container: Container, word: str) -> None:
    """Those that need another one, or a mapping, beside them."""
    if word not in features["mountOptions"]:
        pytest.skip(f"features does not list {word}")
    (container.bundle.path / "volume").mkdir()
    mapping = [{"containerID": 0, "hostID": 0, "size": 1}]
    entry: dict[str, Any] = {
        "destination": "/tmp",
        "source": str(container.bundle.path / "volume"),
        "options": ["bind", word],
    }
    if "idmap" in word:
        entry |= {"uidMappings": mapping, "gidMappings": mapping}
    if word == "tmpcopyup":
        entry |= {"source": "tmpfs", "type": "tmpfs", "options": [word]}
    container.config["mounts"].append(entry)
    assert container.says("grep -c ' /tmp ' /proc/self/mountinfo") == "1"


def test_must_FT4(features: Features, container: Container) -> None:
    """mountExtensions.idmap says whether mappings of a mount are recognised."""
    (container.bundle.path / "volume").mkdir()
    mapping = [{"containerID": 0, "hostID": 5, "size": 1}]
    volume = str(container.bundle.path / "volume")
    entry = {
        "destination": "/tmp",
        "source": volume,
        "options": ["bind"],
        "uidMappings": mapping,
        "gidMappings": mapping,
    }
    container.config["mounts"].append(entry)
    recognised = bool(features["linux"].get("mountExtensions", {}).get("idmap", {}).get("enabled"))
    if recognised:
        assert container.says("stat -c %u:%g /tmp") == "5:5"
    else:
        container.refused("mounts.7")


def test_must_FT5(features: Features, container: Container) -> None:
    """The annotations of features are ones that a config could have: strings, no empty key."""
    annotations = features.get("annotations", {})
    assert all(isinstance(it, str) for pair in annotations.items() for it in pair)
    assert "" not in annotations
    container.config["annotations"] = annotations
    container.create()
    assert container.state().get("annotations", {}) == annotations
    container.delete()
    unsafe = features.get("potentiallyUnsafeConfigAnnotations", [])
    assert all(isinstance(it, str) and it for it in unsafe)

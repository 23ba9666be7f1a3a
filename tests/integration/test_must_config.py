"""The MUSTs of bundle.md and config.md on the bundle, the config as a whole, its root and its annotations."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Container, Run
from tests.integration.must_scene import crun_does_not
from tests.unit.bad_configs import drop, put
from tests.unit.bad_documents import Change

# Where the bundle is, and how the runtime is told.
WHEREABOUTS: dict[str, tuple[str, Callable[[str], list[str]], str]] = {
    "an absolute path": ("bundle", lambda path: ["--bundle", path], "/"),
    "a relative path": ("bundle", lambda path: ["--bundle", os.path.basename(path)], ".."),
    "the working directory": ("bundle", lambda path: [], "."),
    "another name": ("any name at all", lambda path: ["--bundle", path], "/"),
}


@pytest.mark.parametrize("where", WHEREABOUTS)
def test_must_BND1(container: Container, run: Run, where: str) -> None:
    """A bundle is one directory, whose own name says nothing, with config.json in its root."""
    name, options, cwd = WHEREABOUTS[where]
    bundle = container.bundle.sh("echo inside")
    place = bundle.path.rename(bundle.path.with_name(name))
    done = run("run", *options(str(place)), container.name, cwd=place / cwd)
    assert (done.stdout, done.returncode) == ("inside\n", 0), done.stderr


@pytest.mark.parametrize("place", ["Config.json", "config.json.d/config.json", "rootfs/config.json", "../config.json"])
def test_must_BND1_no_other_name(container: Container, run: Run, place: str) -> None:
    bundle = container.bundle
    (bundle.path / "config.json.d").mkdir()
    (bundle.path / "config.json").rename(bundle.path / place)
    assert run("create", "--bundle", bundle.path, container.name).returncode != 0
    assert run("state", container.name).returncode != 0


GOOD_VERSIONS = ["1.0.0", "1.0.1", "1.0.2", "1.0.2-dev", "1.1.0", "1.1.0-rc.3", "1.2.0", "1.2.1", "1.0.0-0.x.7+build.5"]
BAD_VERSIONS = [
    "",
    "1",
    "1.0",
    "1.0.0.0",
    "v1.0.0",
    "01.0.0",
    "1.00.0",
    "1.0.0-",
    "1.0.0-01",
    "1.0.0+",
    " 1.0.0",
    "one",
]


@pytest.mark.parametrize("version", [*GOOD_VERSIONS, "ociVersionMin", "ociVersionMax"])
def test_must_CFG1(container: Container, run: Run, version: str) -> None:
    """Every version between those that the runtime names itself is accepted."""
    container.config["ociVersion"] = json.loads(run("features", check=True).stdout).get(version, version)
    assert container.says("echo inside") == "inside"


@crun_does_not("looks at no version, but that there is one")
@pytest.mark.parametrize("version", [*BAD_VERSIONS, None, 1, 1.0])
def test_must_CFG1_semantic_version(container: Container, version: object) -> None:
    container.config["ociVersion"] = version
    container.refused("ociVersion")


ROOTS = [
    pytest.param(drop("root"), id="no root"),
    pytest.param(drop("root.path"), id="no root.path"),
    pytest.param(put("root.path", "nowhere"), id="a missing directory"),
    pytest.param(put("root.path", "/nowhere/at/all"), id="a missing absolute directory"),
    pytest.param(put("root.path", "config.json"), id="a file"),
    pytest.param(put("root.path", ""), id="an empty path", marks=crun_does_not("takes the bundle itself")),
]


@pytest.mark.parametrize("change", ROOTS)
def test_must_CFG2(container: Container, change: Change) -> None:
    """On Linux there is a root, and its path leads to a directory."""
    change(container.config)
    container.refused("root")


@pytest.mark.parametrize("path", ["rootfs", "./rootfs", "{bundle}/rootfs", "../bundle/rootfs"])
def test_must_CFG2_path(container: Container, path: str) -> None:
    (container.bundle.rootfs / "proof").write_text("of this root\n")
    container.config["root"]["path"] = path.replace("{bundle}", str(container.bundle.path))
    assert container.says("cat /proof") == "of this root"


WRITE = "for place in / /etc /root; do (: >$place/written) 2>/dev/null && echo $place; done; true"


@pytest.mark.parametrize(
    ("root", "writable"),
    [({"readonly": True}, []), ({"readonly": False}, ["/", "/etc", "/root"]), ({}, ["/", "/etc", "/root"])],
    ids=str,
)
def test_must_CFG3(container: Container, root: dict[str, bool], writable: list[str]) -> None:
    """root.readonly says whether the root file system can be written to, by root with every capability too."""
    container.config["root"] = {"path": "rootfs", **root}
    everything = [f"CAP_{name}" for name in "DAC_OVERRIDE FOWNER CHOWN".split()]
    container.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), everything)
    assert container.says(WRITE).split() == writable
    assert [
        path for path in ("/", "/etc", "/root") if (container.bundle.rootfs / path[1:] / "written").exists()
    ] == writable


# An object of each kind: where it is, and what must be there for it to be one.
OBJECTS: dict[str, Change] = {
    "": lambda config: None,
    "root": lambda config: None,
    "process": lambda config: None,
    "process.user": lambda config: None,
    "process.capabilities": lambda config: None,
    "process.consoleSize": put("process.consoleSize", {"height": 1, "width": 1}),
    "process.rlimits.0": lambda config: None,
    "mounts.0": lambda config: None,
    "hooks": put("hooks", {}),
    "linux": lambda config: None,
    "linux.namespaces.0": lambda config: None,
    "linux.resources": lambda config: None,
    "linux.resources.devices.0": lambda config: None,
    "linux.devices.0": put("linux.devices", [{"type": "p", "path": "/dev/pipe"}]),
    "linux.seccomp": put("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW"}),
    "linux.seccomp.syscalls.0": put(
        "linux.seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sync"], "action": "SCMP_ACT_LOG"}]},
    ),
    "linux.personality": put("linux.personality", {"domain": "LINUX"}),
}
UNKNOWN: dict[str, Any] = {"a string": "x", "null": None, "an object": {"args": [{}]}, "a list": [1, "x", None]}


@pytest.mark.parametrize("where", OBJECTS)
def test_must_CFG4(container: Container, where: str) -> None:
    """A property that nobody knows is ignored, whatever it is and wherever it stands."""
    OBJECTS[where](container.config)
    for number, value in enumerate(UNKNOWN.values()):
        put(f"{where}.x-unknown{number}".lstrip("."), value)(container.config)
    assert container.says("echo inside") == "inside"


CRUN_TAKES_IT = crun_does_not("takes it in silence")
CRUN_LEAVES_IT = crun_does_not("leaves a cgroup behind")
INVALID = [
    ("process.args", ["true", 1], CRUN_TAKES_IT),
    ("process.args", "true", CRUN_TAKES_IT),
    ("process.cwd", "relative", CRUN_TAKES_IT),
    ("process.rlimits.0.soft", -1, CRUN_LEAVES_IT),
    ("process.rlimits.0.type", "RLIMIT_NOTHING", CRUN_LEAVES_IT),
    ("process.terminal", "yes", CRUN_TAKES_IT),
    ("process.user.uid", -1, CRUN_TAKES_IT),
    ("process.user.uid", 2**32, CRUN_TAKES_IT),
    ("root.path", 1),
    ("root.readonly", "yes", CRUN_TAKES_IT),
    ("hostname", 1, CRUN_TAKES_IT),
    ("mounts.0.type", "nofilesystem"),
    ("mounts.0.options", ["nosuchoption"]),
    ("annotations", ["a"], CRUN_TAKES_IT),
    ("linux.devices", [{"type": "x", "path": "/dev/x", "major": 1, "minor": 3}], CRUN_TAKES_IT),
    ("linux.namespaces.0.type", "nothing", CRUN_LEAVES_IT),
    ("linux.personality", {"domain": "VMS"}),
    ("linux.rootfsPropagation", "nowhere", CRUN_TAKES_IT),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTHING"}),
    ("linux.sysctl", {"kernel.pid_max": "1000"}),
]


@pytest.mark.parametrize(("where", "value"), [pytest.param(*row[:2], marks=row[2:]) for row in INVALID], ids=str)  # type: ignore[arg-type]
def test_must_CFG5(container: Container, where: str, value: object) -> None:
    """A value that is not valid, or that the runtime does not support, is an error."""
    put(where, value)(container.config)
    container.refused("/proc" if where.startswith("mounts") else where)


@pytest.mark.parametrize("document", ["", "[]", "null", '"config"', "{", '{"ociVersion": "1.0.0"', "\xff"], ids=repr)
def test_must_CFG5_document(container: Container, run: Run, document: str) -> None:
    (container.bundle.path / "config.json").write_bytes(document.encode("latin-1"))
    assert run("create", "--bundle", container.bundle.path, container.name).returncode != 0
    assert run("state", container.name).returncode != 0


@pytest.mark.parametrize("change", ["another", "damaged", "gone", "the bundle is elsewhere"])
def test_must_CFG6(container: Container, run: Run, wait_until: Callable[..., Any], change: str) -> None:
    """What is done to config.json after create has no effect on the container."""
    bundle = container.bundle
    bundle.config.update(annotations={"org.example.is": "the first"}, hostname="first")
    bundle.config["root"]["readonly"] = False
    container.create("hostname >/said; echo the first >>/said")
    path = bundle.path / "config.json"
    if change == "another":
        bundle.config.update(annotations={"org.example.is": "the second"}, hostname="second")
        bundle.sh("echo the second >/said")
    elif change == "damaged":
        path.write_text("{")
    elif change == "gone":
        path.unlink()
    else:
        shutil.copytree(bundle.path, bundle.path.with_name("copy"), symlinks=True)
        path.unlink()
    container.start()
    said = bundle.rootfs / "said"
    wait_until(lambda: container.state()["status"] == "stopped", "the container to end")
    assert said.read_text() == "first\nthe first\n"
    assert container.state()["annotations"] == {"org.example.is": "the first"}
    run("delete", container.name, check=True)


@pytest.mark.parametrize("annotations", [{}, {"a": "b"}, {"org.example.empty": ""}, {"ä ö": "ü\n\t\"'"}], ids=str)
def test_must_ANN1(container: Container, annotations: dict[str, str]) -> None:
    """Annotations map strings to strings, of which the value may be empty."""
    container.config["annotations"] = annotations
    container.create()
    assert container.state().get("annotations", {}) == annotations


@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param({"": "an empty key"}, marks=crun_does_not("takes an empty key")),
        {"a": ["b"]},
        {"a": {"b": "c"}},
        pytest.param({"a": 1}, marks=crun_does_not("takes it in silence")),
        pytest.param({"a": True}, marks=crun_does_not("takes it in silence")),
    ],
    ids=str,
)
def test_must_ANN1_invalid(container: Container, annotations: object) -> None:
    container.config["annotations"] = annotations
    container.refused("annotations")


# What the image specification lets a client hand on.
OF_THE_IMAGE = {
    "org.opencontainers.image.os": "linux",
    "org.opencontainers.image.os.version": "6.1",
    "org.opencontainers.image.os.features": "one,two",
    "org.opencontainers.image.architecture": "arm64",
    "org.opencontainers.image.variant": "v8",
    "org.opencontainers.image.author": "A. N. Author <author@example.org>",
    "org.opencontainers.image.created": "2026-01-01T00:00:00.000000001Z",
    "org.opencontainers.image.stopSignal": "SIGRTMIN+3",
}


def test_must_ANN2(container: Container) -> None:
    """Keys of org.opencontainers are handed on as they stand, and the runtime invents none."""
    container.config["annotations"] = OF_THE_IMAGE
    container.create()
    assert container.state()["annotations"] == OF_THE_IMAGE


@pytest.mark.parametrize(
    "key", ["org.example.unknown", "run.oci.unknown", "no dots", "org.opencontainers.image.unknown"]
)
def test_must_ANN3(container: Container, key: str) -> None:
    """An annotation that the runtime does not know is ignored."""
    container.config["annotations"] = {key: "?"}
    assert container.says("echo inside") == "inside"

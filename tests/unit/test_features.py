"""`pyoci features` says what is true, in the form of the specification."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import pytest

from pyoci_systemd.cli import version
from pyoci_systemd.container import features
from pyoci_systemd.errors import Error
from pyoci_systemd.settings import Options, Settings


@pytest.fixture
def document() -> dict:  # type: ignore[type-arg]
    return features.document()


def test_versions(document: dict) -> None:  # type: ignore[type-arg]
    """FT2: both are required, both are plain versions, and the first is not the greater."""
    oldest, newest = (tuple(map(int, document[f"ociVersion{end}"].split("."))) for end in ("Min", "Max"))
    assert (1, 0, 0) == oldest <= newest == (1, 3, 0)


@pytest.mark.parametrize("end", ["Min", "Max"])
def test_versions_are_accepted_in_a_config(document: dict, end: str) -> None:  # type: ignore[type-arg]
    from pyoci_systemd.spec.defaults import default_config
    from pyoci_systemd.spec.load import load

    config = {**default_config(), "ociVersion": document[f"ociVersion{end}"]}
    assert load(json.dumps(config).encode())["ociVersion"] == document[f"ociVersion{end}"]


def test_printed(document: dict, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[type-arg]
    assert features.main(Settings(), Options()) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == document
    assert printed.endswith("}\n")


def test_nothing_is_null(document: dict) -> None:  # type: ignore[type-arg]
    """FT1: null and empty differ, and we know what we mean."""

    def walk(value: object) -> None:
        assert value is not None
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    walk(document)


def test_members(document: dict) -> None:  # type: ignore[type-arg]
    """Only what features.md and features-linux.md of the specification define."""
    assert set(document) <= {
        "ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations",
        "potentiallyUnsafeConfigAnnotations",
    }  # fmt: skip
    assert set(document["linux"]) <= {
        "namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "memoryPolicy",
        "mountExtensions", "netDevices",
    }  # fmt: skip
    assert set(document["hooks"]) <= {
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
    }  # fmt: skip
    assert all(isinstance(value, str) for value in document["annotations"].values())


def test_namespaces_of_the_default_config_are_listed(document: dict) -> None:  # type: ignore[type-arg]
    from pyoci_systemd.spec.defaults import default_config

    for rootless in (False, True):
        asked = {space["type"] for space in default_config(rootless)["linux"]["namespaces"]}
        assert asked <= set(document["linux"]["namespaces"])


def test_capabilities_are_the_plan_s(document: dict) -> None:  # type: ignore[type-arg]
    from pyoci_systemd.plan.words import CAPABILITIES

    assert sorted(document["linux"]["capabilities"]) == sorted(CAPABILITIES)


def test_unsafe_annotations_name_what_reaches_systemd(document: dict) -> None:  # type: ignore[type-arg]
    assert "org.systemd.property." in document["potentiallyUnsafeConfigAnnotations"]  # D8


def test_mount_options_are_the_plan_s(document: dict) -> None:  # type: ignore[type-arg]
    from pyoci_systemd.plan.mounts import OPTIONS

    assert document["mountOptions"] == sorted(OPTIONS)
    assert {"bind", "ro", "rw", "nosuid", "rro", "rshared", "noatime"} <= set(document["mountOptions"])


def schema_words(key: str) -> list[str]:
    """Return the enum of a list in the schema of linux.seccomp."""
    schema = json.loads(Path(features.__file__).parent.joinpath("../spec/schema/seccomp.json").read_text())
    found: list[str] = []

    def walk(value: object, inside: bool) -> None:
        if isinstance(value, dict):
            found.extend(value.get("enum", ()) if inside else ())
            for name, inner in value.items():
                walk(inner, inside or name == key)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, inside)

    walk(schema, False)
    return found


def test_seccomp_architectures_are_the_schema_s() -> None:
    """FT3: what is listed is accepted in a config."""
    from pyoci_systemd.plan.seccomp import ARCHITECTURES

    assert sorted(ARCHITECTURES) == sorted(schema_words("architectures"))


def test_seccomp_flags_are_accepted(document: dict) -> None:  # type: ignore[type-arg]
    seccomp = document["linux"]["seccomp"]
    assert set(seccomp.get("supportedFlags", ())) <= set(seccomp.get("knownFlags", ())) <= set(schema_words("flags"))


def test_seccomp_is_the_plan_s(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyoci_systemd.plan import seccomp

    monkeypatch.setattr(features, "libseccomp", lambda: "a library")
    monkeypatch.setattr(features, "supports", lambda library, bits: bits != seccomp.WAIT_KILLABLE_RECV)
    assert features.seccomp() == {
        "enabled": True,
        "actions": sorted(seccomp.ACTIONS),
        "operators": sorted(seccomp.OPERATORS),
        "archs": sorted(seccomp.ARCHITECTURES),
        "knownFlags": sorted(seccomp.FLAGS),
        "supportedFlags": sorted({*seccomp.FLAGS} - {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"}),
    }


def test_kernel_is_asked_for_flags() -> None:
    library = features.libseccomp()
    if library is None:
        pytest.skip("libseccomp2 is not installed")
    assert features.supports(library, 0)
    assert not features.supports(library, 1 << 30)


def test_seccomp_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise Error("linux.seccomp needs libseccomp, which is not installed")

    monkeypatch.setattr("pyoci_systemd.container.compiler.library", missing)
    document = features.document()
    assert document["linux"]["seccomp"] == {"enabled": False}
    assert "io.github.seccomp.libseccomp.version" not in document["annotations"]


def test_libseccomp_version(document: dict) -> None:  # type: ignore[type-arg]
    if not document["linux"]["seccomp"]["enabled"]:
        pytest.skip("libseccomp2 is not installed")
    version = document["annotations"]["io.github.seccomp.libseccomp.version"]
    assert re.fullmatch(r"2\.\d+\.\d+", version)
    assert "SCMP_ARCH_X86_64" in document["linux"]["seccomp"]["archs"]


def test_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The build leaves it in build.py."""
    build = types.ModuleType("pyoci_systemd.build")
    build.COMMIT = "0123abc"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, build.__name__, build)
    assert features.remarks()["org.pyoci.commit"] == "0123abc"
    assert "commit: 0123abc" in version.text(Settings(given_root="/r")).splitlines()

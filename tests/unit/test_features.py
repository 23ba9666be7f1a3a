"""`pyoci features` says what is true, in the form of the specification."""

from __future__ import annotations

import json

import pytest

from pyoci_systemd.container import features
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


def test_seccomp_is_enabled_when_the_plan_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"ACTIONS": ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"], "OPERATORS": {"SCMP_CMP_EQ": 1}}
    monkeypatch.setattr(features, "planned", lambda module, name: sorted(known[name]) if name in known else None)
    assert features.document()["linux"]["seccomp"] == {
        "enabled": True, "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"], "operators": ["SCMP_CMP_EQ"],
    }  # fmt: skip
    known.clear()
    assert features.document()["linux"]["seccomp"] == {"enabled": False}


def test_planned() -> None:
    assert features.planned("nosuchmodule", "X") is None
    assert features.planned("words", "NO_SUCH_TABLE") is None
    assert "CAP_CHOWN" in (features.planned("words", "CAPABILITIES") or ())

"""doctor: what it finds in this machine, and that what it says helps."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Run

pytestmark = pytest.mark.skipif(CRUN, reason="crun has no doctor")

NOBODY = 65534


def findings(text: str) -> dict[str, dict[str, Any]]:
    """Return the findings by their subjects."""
    return {finding["subject"]: finding for finding in json.loads(text)}


def as_nobody(runtime: str, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit status and the findings for a user without a session, subordinate ids or a home."""
    done = subprocess.run(
        [runtime, "doctor", "--json"],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env=env,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    return done.returncode, findings(done.stdout)


def test_root_is_well(run: Run) -> None:
    """Nothing stands in the way here, and what it says of this machine is so."""
    found = findings(run("doctor", "--json", check=True).stdout)
    controllers = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    assert [name for name, finding in found.items() if finding["verdict"] == "bad"] == []
    assert os.uname().release in found["kernel"]["found"]
    assert found["cgroups"]["found"].startswith(f"controllers {' '.join(controllers) or 'none'}")
    version = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    assert found["systemd"]["found"].startswith(version.split()[2].strip("()").split("-")[0])
    assert found["bus"]["found"] == "the system's"


def test_text(run: Run) -> None:
    said = run("doctor", check=True).stdout
    assert "ok    bus" in said
    assert all(len(line) > 6 for line in said.splitlines())


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({}, "XDG_RUNTIME_DIR is not set"),
        ({"XDG_RUNTIME_DIR": ""}, "XDG_RUNTIME_DIR is not set"),
        ({"XDG_RUNTIME_DIR": "/run/systemd"}, "XDG_RUNTIME_DIR `/run/systemd`"),
        ({"XDG_RUNTIME_DIR": "/nowhere"}, "XDG_RUNTIME_DIR `/nowhere`: No such file or directory"),
    ],
    ids=str,
)
def test_nobody_has_no_session(runtime: str, env: dict[str, str], found: str) -> None:
    """The one without whom no container runs is bad, named, and comes with a remedy; the rest are notes."""
    status, said = as_nobody(runtime, **env)
    assert status == 1
    assert said["session"]["verdict"] == said["bus"]["verdict"] == "bad"
    assert said["session"]["found"].startswith(found)
    assert found in said["bus"]["found"]
    assert said["session"]["mend"]
    assert "enable-linger nobody" in said["linger"]["mend"]
    assert "--add-subuids" in said["subuid"]["mend"]
    assert said["user namespaces"]["verdict"] == "ok"


def test_what_mends_the_ids(runtime: str) -> None:
    """The command that doctor names gives what was missing."""
    kept = {path: path.read_text() for path in map(pathlib.Path, ("/etc/subuid", "/etc/subgid"))}
    try:
        for kind in ("subuid", "subgid"):
            command = as_nobody(runtime)[1][kind]["mend"].removeprefix("as root: ")
            subprocess.run(command.split(), check=True, timeout=10)
            assert as_nobody(runtime)[1][kind]["found"] == "100000-165535"
    finally:
        for path, text in kept.items():
            path.write_text(text)

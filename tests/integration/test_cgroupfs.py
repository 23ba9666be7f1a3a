"""The cgroupfs manager: what stands in /sys/fs/cgroup while a container lives, and what is left of it."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.integration.conftest import Bundle, Run

ROOT = pathlib.Path("/sys/fs/cgroup")
TOP = ROOT / "pyoci-test"


@pytest.fixture
def sleeper(bundle: Bundle) -> Bundle:
    return bundle.args("sleep", "1000")


def run_at(run: Run, bundle: Bundle, container_id: str, path: str) -> int:
    """Run the bundle in a cgroup; return its pid."""
    bundle.config["linux"]["cgroupsPath"] = path
    bundle.write()
    run("--cgroup-manager=cgroupfs", "run", "--detach", "--bundle", bundle.path, container_id, check=True)
    state = json.loads(run("state", container_id, check=True).stdout)
    return int(state["pid"])


def test_nothing_of_the_way_is_left(run: Run, sleeper: Bundle, container_id: str) -> None:
    pid = run_at(run, sleeper, container_id, "/pyoci-test/a/b/c")
    assert "0::/pyoci-test/a/b/c" in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    run("delete", "--force", container_id, check=True)
    assert not TOP.exists()


def test_the_last_one_out_removes_what_they_shared(run: Run, sleeper: Bundle, container_id: str) -> None:
    other = f"{container_id}-other"
    run_at(run, sleeper, container_id, "/pyoci-test/shared/one")
    try:
        run_at(run, sleeper, other, "/pyoci-test/shared/two")
        run("delete", "--force", container_id, check=True)
        assert sorted(path.name for path in (TOP / "shared").iterdir() if path.is_dir()) == ["two"]
    finally:
        run("delete", "--force", other, check=True)
    assert not TOP.exists()


def test_what_a_client_made_stays(run: Run, sleeper: Bundle, container_id: str) -> None:
    (TOP / "pod").mkdir(parents=True)
    try:
        run_at(run, sleeper, container_id, "/pyoci-test/pod/ours/container")
        run("delete", "--force", container_id, check=True)
        assert [path.name for path in (TOP / "pod").iterdir() if path.is_dir()] == []
    finally:
        (TOP / "pod").rmdir()
        TOP.rmdir()


def test_a_create_that_fails_leaves_nothing(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.config["linux"]["cgroupsPath"] = "/pyoci-test/a/b"
    bundle.args("/no/such/program")
    assert run("--cgroup-manager=cgroupfs", "run", "--bundle", bundle.path, container_id).returncode != 0
    assert not TOP.exists()

"""Names that change places while a container is made: CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565.

Two names of a volume are exchanged (renameat2(2)) as fast as that goes, one of them a link that leads outside. A
container may fail to be made, in one line; nothing outside may change, and what was made must be what was asked for.
SOAK=1 makes 10,000 containers where else 200 are made.

Seen red:
    a place for a mount     the walk below the root filesystem not confined to it (no RESOLVE_IN_ROOT): after 1 try
    the console             the same
    /dev/null               files masked with the /dev/null found in the container instead of the host's
    a read-only path        the path resolved once to bind it and once more to make it read-only
"""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.attack_scene import Outside, Swapper, lean, replace, tries, without_mount
from tests.integration.conftest import Bundle, Run

QUICK = "--cgroup-manager=disabled"


@pytest.fixture
def outside(tmp_path: pathlib.Path) -> Outside:
    return Outside(tmp_path / "outside")


@pytest.fixture
def volume(tmp_path: pathlib.Path, bundle: Bundle) -> Iterator[pathlib.Path]:
    """Return a directory that is mounted on /volume."""
    path = tmp_path / "volume"
    path.mkdir()
    lean(bundle)
    entry = {"destination": "/volume", "type": "bind", "source": str(path), "options": ["bind"]}
    bundle.config["mounts"].append(entry)
    yield path


def attempt(run: Run, bundle: Bundle, container_id: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the container; if it could not be made, that must have been told in one line."""
    done = run(QUICK, "run", *arguments, "--bundle", bundle.path, container_id)
    assert done.returncode in (0, 1), done
    if done.returncode:
        assert len(done.stderr.splitlines()) == 1, done
    return done


def test_a_place_for_a_mount(
    run: Run, bundle: Bundle, container_id: str, volume: pathlib.Path, outside: Outside
) -> None:
    (volume / "a/inner").mkdir(parents=True)
    replace(volume / "link", outside.path / "directory")
    for name in ("inner", "new", "new/newer"):
        target = f"/volume/a/{name}"
        bundle.config["mounts"].append({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": []})
    bundle.sh("find / -xdev -name marker; find /volume -name marker; true")
    made = 0
    with Swapper((volume / "a", volume / "link")):
        for _ in tries(200):
            done = attempt(run, bundle, container_id)
            made += done.returncode == 0
            assert "marker" not in done.stdout
            outside.assert_untouched()
    assert made


def test_dev_null(run: Run, bundle: Bundle, container_id: str, volume: pathlib.Path, outside: Outside) -> None:
    # a /dev that is shared: the container's other half puts something else in the place of null
    without_mount(bundle, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    bundle.config["mounts"][-1]["destination"] = "/dev"
    os.mknod(volume / "null", 0o20666, os.makedev(1, 3))
    (volume / "other").write_text("secret")
    (bundle.rootfs / "masked").write_text("secret")
    bundle.config["linux"]["maskedPaths"] = ["/masked"]
    bundle.sh("stat -c %t:%T /masked; cat /masked")
    with Swapper((volume / "null", volume / "other")):
        found = [attempt(run, bundle, container_id).stdout for _ in tries(200)]
    outside.assert_untouched()
    assert set(found) - {""} == {"1:3\n"}


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_a_read_only_path(
    run: Run, bundle: Bundle, container_id: str, volume: pathlib.Path, outside: Outside, kind: str
) -> None:
    (volume / "a/inner").mkdir(parents=True)
    if kind == "link":
        replace(volume / "other", outside.path / "directory")
        (bundle.rootfs / str(outside.path)[1:] / "directory/inner").mkdir(parents=True)
    else:
        (volume / "other/inner").mkdir(parents=True)
    bundle.config["linux"]["readonlyPaths"] = ["/volume/a/inner"]
    bundle.sh("grep /inner /proc/self/mountinfo")
    found = []
    with Swapper((volume / "a", volume / "other")):
        for _ in tries(200):
            found += attempt(run, bundle, container_id).stdout.splitlines()
            outside.assert_untouched()
    assert found
    assert [line for line in found if "ro" not in line.split()[5].split(",")] == []


@pytest.mark.parametrize("leads_to", ["file", "directory/new"])
def test_the_console(
    run: Run, bundle: Bundle, container_id: str, volume: pathlib.Path, outside: Outside, leads_to: str
) -> None:
    without_mount(bundle, "/dev", "/dev/shm", "/dev/mqueue")
    bundle.config["mounts"].sort(key=lambda entry: bool(entry["destination"] == "/dev/pts"))
    next(entry for entry in bundle.config["mounts"] if entry["destination"] == "/volume")["destination"] = "/dev"
    (volume / "pts").mkdir()
    (volume / "console").touch()
    replace(volume / "link", outside.path / leads_to)
    bundle.config["process"]["terminal"] = True
    bundle.args("true")
    made = 0
    with Swapper((volume / "console", volume / "link")), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{bundle.path}/console.sock")
        listener.listen(16)
        listener.setblocking(False)
        for _ in tries(200):
            done = attempt(run, bundle, container_id, "--detach", "--console-socket", f"{bundle.path}/console.sock")
            made += done.returncode == 0
            outside.assert_untouched()
            run("delete", "--force", container_id, check=True)
            if done.returncode == 0:
                listener.accept()[0].close()
    assert made

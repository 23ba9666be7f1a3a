"""Names in an image that lead out of it: CVE-2019-18837, CVE-2019-19921, CVE-2024-45310, CVE-2025-24965, CVE-2026-47766.

A name is resolved as if the root filesystem were all there is (chroot(2)): a link to /x means /x of the image.

Seen red, each with the walk below the root filesystem not confined to it (no RESOLVE_IN_ROOT), if nothing else is said:
    a mount lands inside            the mount missed, or places for mounts were made on the host
    a mount does not go by way of proc       it went to the host
    /dev is a link                  nodes were made on the host; crun 1.21 makes them there too
    a device is a link              mode and owner given to a device by its name, whatever stood there
    a masked path lies behind a link         the file could be read
    /proc or /sys is a link         links followed for proc and sysfs as for any other mount
"""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.integration.attack_scene import PROOF, Outside, assert_refused, lean, replace, without_mount
from tests.integration.conftest import Bundle, Run

QUICK = "--cgroup-manager=disabled"


@pytest.fixture
def outside(tmp_path: pathlib.Path) -> Outside:
    return Outside(tmp_path / "outside")


# How a link in the root filesystem points at `there`, and where that is for the container.
LINKS = {
    "absolute": lambda rootfs, there: (str(there), str(there)),
    "relative": lambda rootfs, there: (os.path.relpath(there, rootfs), f"/{there.relative_to(rootfs.parents[1])}"),
    "many steps up": lambda rootfs, there: ("../" * 40 + str(there)[1:], str(there)),
    "up and down": lambda rootfs, there: (f"/bin/../..{there}", str(there)),
    "a link to a link": lambda rootfs, there: (replace(rootfs / "second", there).name, str(there)),
}

# What is mounted where: the target in the container, what it leads to outside.
TARGETS = {
    "directory": ("/link", "directory"),
    "below a directory": ("/link/inner", "directory"),
    "missing directory": ("/link", "directory/new"),
    "below a missing directory": ("/link/new/newer", "directory"),
    "file": ("/link", "file"),
    "missing file": ("/link", "directory/new"),
    "missing file in a directory": ("/link/new", "directory"),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("what", TARGETS)
def test_a_mount_lands_inside(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, outside: Outside, link: object, what: str
) -> None:
    target, leads_to = TARGETS[what]
    pointer, place = link(bundle.rootfs, outside.path / leads_to)  # type: ignore[operator]
    replace(bundle.rootfs / "link", pointer)
    source = tmp_path / "source"
    if "file" in what:
        source.write_text(PROOF)
    else:
        source.mkdir()
        (source / "proof").write_text(PROOF)
    lean(bundle)
    entry = {"destination": target, "type": "bind", "source": str(source), "options": ["bind"]}
    bundle.config["mounts"].append(entry)
    where = place + target.removeprefix("/link") + ("" if "file" in what else "/proof")
    bundle.args("cat", where)
    done = run(QUICK, "run", "--bundle", bundle.path, container_id)
    outside.assert_untouched()
    assert (done.returncode, done.stdout) == (0, PROOF), done


@pytest.mark.parametrize("pointer", ["/proc/1/root{}", "/proc/self/root{}", "/proc/self/cwd{}", "/proc/1/cwd/../{}"])
def test_a_mount_does_not_go_by_way_of_proc(
    run: Run, bundle: Bundle, container_id: str, outside: Outside, pointer: str
) -> None:
    # the links of /proc lead to the host as long as the init has not changed root
    replace(bundle.rootfs / "link", pointer.format(outside.path))
    lean(bundle)
    bundle.config["mounts"].append({"destination": "/link/new", "type": "tmpfs", "source": "tmpfs", "options": []})
    bundle.write()
    done = run(QUICK, "run", "--bundle", bundle.path, container_id)
    outside.assert_untouched()
    assert_refused(done)


@pytest.mark.parametrize("mounted", [True, False], ids=["with a mount", "without a mount"])
@pytest.mark.parametrize("name", ["directory", "directory/new"])
@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_dev_is_a_link(
    run: Run, bundle: Bundle, container_id: str, outside: Outside, link: object, name: str, mounted: bool
) -> None:
    pointer, place = link(bundle.rootfs, outside.path / name)  # type: ignore[operator]
    replace(bundle.rootfs / "dev", pointer)
    lean(bundle)
    if not mounted:
        without_mount(bundle, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    device = {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}
    bundle.config["linux"]["devices"] = [device, {"path": "/dev/deep/mine", "type": "p"}]
    bundle.sh(f"stat -c %t:%T {place}/mine {place}/null")
    done = run(QUICK, "run", "--bundle", bundle.path, container_id)
    outside.assert_untouched()
    assert done.stdout in ("1:3\n1:3\n", "")  # where it should be, or refused
    assert done.returncode == 0 or done.stdout == ""


@pytest.mark.parametrize("name", ["dev/null", "dev/tty", "dev/mine"])
@pytest.mark.parametrize("leads_to", ["file", "directory"])
def test_a_device_is_a_link(
    run: Run, bundle: Bundle, container_id: str, outside: Outside, name: str, leads_to: str
) -> None:
    replace(bundle.rootfs / name, outside.path / leads_to)
    lean(bundle)
    without_mount(bundle, "/dev")
    bundle.config["linux"]["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "uid": 1000}]
    bundle.args("true")
    run(QUICK, "run", "--bundle", bundle.path, container_id)
    outside.assert_untouched()


@pytest.mark.parametrize("kind", ["maskedPaths", "readonlyPaths"])
@pytest.mark.parametrize("pointer", ["/real", "../../../../real", "/bin/../real"])
def test_a_masked_path_lies_behind_a_link(run: Run, bundle: Bundle, container_id: str, kind: str, pointer: str) -> None:
    (bundle.rootfs / "real").mkdir()
    (bundle.rootfs / "real/secret").write_text("secret")
    replace(bundle.rootfs / "link", pointer)
    lean(bundle)
    bundle.config["linux"][kind] = ["/link/secret"]
    bundle.sh("cat /real/secret; echo x >>/real/secret")
    done = run(QUICK, "run", "--bundle", bundle.path, container_id)
    assert done.stdout == ("" if kind == "maskedPaths" else "secret")
    assert (bundle.rootfs / "real/secret").read_text() == "secret"


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("pointer", ["fake", "/fake", "/", "../fake", "nothing", "/nothing/at/all", "{}"])
def test_proc_or_sys_is_a_link(
    run: Run, bundle: Bundle, container_id: str, outside: Outside, name: str, pointer: str
) -> None:
    (bundle.rootfs / "fake").mkdir()
    (bundle.rootfs / "fake/secret").write_text("secret")
    replace(bundle.rootfs / name, pointer.format(outside.path))
    lean(bundle).args("true")
    done = run(QUICK, "run", "--bundle", bundle.path, container_id)
    outside.assert_untouched()
    assert_refused(done, f"/{name}`", f"/{name} ", f"`{name}`")
    assert sorted(path.name for path in (bundle.rootfs / "fake").iterdir()) == ["secret"]


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_a_directory_above_proc_or_sys_is_a_link(run: Run, bundle: Bundle, container_id: str, name: str) -> None:
    (bundle.rootfs / "fake").mkdir()
    replace(bundle.rootfs / "link", "fake")
    kind = {"proc": "proc", "sys": "sysfs"}[name]
    lean(bundle)
    bundle.config["mounts"].append({"destination": f"/link/{name}", "type": kind, "source": kind})
    bundle.args("true")
    assert_refused(run(QUICK, "run", "--bundle", bundle.path, container_id), f"/link/{name}")
    assert list((bundle.rootfs / "fake").iterdir()) == []

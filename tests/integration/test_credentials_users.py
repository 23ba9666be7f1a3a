"""Credentials of users without privileges, seen from inside: by hand, from her own systemd, and by her podman."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container
from tests.integration.rootless_scene import User, alice, bob, her_service, hers, his, settled
from tests.integration.test_credentials import WHOSE, said

__all__ = ["alice", "bob", "her_service", "hers", "his"]

pytestmark = pytest.mark.skipif(CRUN, reason="crun knows no credentials")


def subordinate(user: User) -> int:
    """Return the first id that a user has besides the own."""
    lines = [line.split(":") for line in pathlib.Path("/etc/subuid").read_text().splitlines()]
    return next(int(first) for name, first, _ in lines if name == user.name)


def given(user: User) -> str:
    """Return a file that is the user's alone, as a credential."""
    path = user.home / "key"
    path.write_text("secret")
    os.chown(path, user.uid, user.uid)
    path.chmod(0o400)
    return f"key:{path}"


@pytest.mark.parametrize("uid", [0, 33])
@pytest.mark.parametrize("maps", ["own", "automatic", "others"])
def test_of_a_user(alice: User, hers: Container, uid: int, maps: str) -> None:
    """Her own id is root's, the program's, or nobody's. With `Own` for root, and for the id after the program's."""
    linux = hers.config["linux"]
    for kind in ("uid", "gid"):
        if maps == "automatic":
            del linux[f"{kind}Mappings"]
        elif maps == "others":  # her own is not among them
            linux[f"{kind}Mappings"] = [{"containerID": 0, "hostID": subordinate(alice), "size": 1000}]
        else:
            linux[f"{kind}Mappings"].append({"containerID": 1, "hostID": subordinate(alice), "size": 1000})
    hers.config["process"]["user"] = {"uid": uid, "gid": uid}
    if maps == "others":
        alice.home.chmod(0o755)
        open_to_all(hers)
    assert hers.says(WHOSE, "--credential", given(alice)) == said(uid, uid)


def open_to_all(container: Container) -> None:
    """Let others make places for mounts in the image."""
    for path in (container.bundle.rootfs, *container.bundle.rootfs.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o777)


@pytest.mark.parametrize("uid", [0, 33])
def test_of_a_user_with_one_id(bob: User, his: Container, uid: int) -> None:
    """The same."""
    del his.config["linux"]["uidMappings"], his.config["linux"]["gidMappings"]
    his.config["process"]["user"] = {"uid": uid, "gid": uid}
    assert his.says(WHOSE, "--credential", given(bob)) == said(uid, uid)


def test_what_a_user_may_not_read(alice: User, hers: Container) -> None:
    """Without the error."""
    hers.bundle.write()
    done = hers.run("run", "--credential", "key:/etc/shadow", "--bundle", hers.bundle.path, hers.name)
    assert (done.returncode, done.stderr) == (1, "pyoci: credential key: `/etc/shadow`: Permission denied\n")


WRAPPER = """#!/bin/sh
for word; do
    shift
    set -- "$@" "$word"
    [ "$word" = create ] && set -- "$@" --credential {key}
done
exec {runtime} "$@"
"""


@pytest.mark.parametrize(("options", "uid"), [([], 0), (["--user=33:33"], 33), (["--userns=keep-id"], None)])
def test_of_a_user_s_podman(alice: User, busybox_rootfs: pathlib.Path, options: list[str], uid: int | None) -> None:
    """It runs us as root of a user namespace of its own, and names no options of ours: so by a script in between. The same."""
    uid = alice.uid if uid is None else uid
    wrapper = alice.home / "runtime"
    wrapper.write_text(WRAPPER.format(key=given(alice), runtime=alice.runtime))
    wrapper.chmod(0o755)
    archive = alice.home / "image.tar"
    subprocess.run(["tar", "-C", busybox_rootfs, "-cf", archive, "."], check=True)
    podman = ["podman", "--storage-driver=vfs", "--runtime", str(wrapper)]
    alice.does(*podman, "import", "--quiet", str(archive), "localhost/busybox", check=True, timeout=60)
    run = ["run", "--rm", "--network=none", "--pids-limit=0", *options, "localhost/busybox", "sh", "-c", WHOSE]
    assert alice.does(*podman, *run, check=True, timeout=60).stdout == said(uid, uid)
    assert settled(alice) == []


# -- a service of her systemd


@pytest.mark.parametrize("uid", [0, 33])
def test_of_a_user_s_service(
    alice: User, hers: Container, her_service: str, wait_until: Callable[..., Any], uid: int
) -> None:
    """Her systemd hands her what she may read. Without $PYOCI_CREDENTIALS in the user's unit."""
    alice.run("unit", "--user", "--credential", given(alice), hers.name, check=True)
    alice.systemctl("daemon-reload")
    for kind in ("uid", "gid"):
        hers.config["linux"][f"{kind}Mappings"].append({"containerID": 1, "hostID": subordinate(alice), "size": 1000})
    hers.config["process"]["user"] = {"uid": uid, "gid": uid}
    hers.config["root"]["readonly"] = False
    told = hers.bundle.rootfs / "tmp/told"
    told.parent.chmod(0o777)
    hers.bundle.sh(f"({WHOSE}) >/tmp/told.new; mv /tmp/told.new /tmp/told; exec sleep 1000")
    alice.does("systemctl", "--user", "start", her_service, check=True)
    wait_until(told.exists, "a word")
    assert told.read_text() == said(uid, uid)
    told.unlink()

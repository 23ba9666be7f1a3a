"""Credentials, seen from inside: what they are mounted as, whose they are, what is in them, and where they are not.

crun has none of this. Beside each test stands what was left out to see it red.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container
from tests.integration.test_mounts import Scene, into_user_namespace, scene, seen
from tests.integration.test_services import LOOP, Service, service

__all__ = ["scene", "service"]  # fixtures

pytestmark = pytest.mark.skipif(CRUN, reason="crun knows no credentials")

PLACE = "/run/host/credentials"
WHOSE = f"stat -c '%a %u:%g' {PLACE} {PLACE}/key; cat {PLACE}/key"
MIB = 1 << 20
MIGHTY = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID SYS_ADMIN".split()


def said(uid: int, gid: int, content: str = "secret") -> str:
    """Return what WHOSE says when all is well."""
    return f"500 {uid}:{gid}\n400 {uid}:{gid}\n{content}"


@pytest.fixture
def key(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a file that nobody but root may read."""
    path = tmp_path / "a-key"
    path.write_text("secret")
    path.chmod(0o400)
    return path


# -- what they are


def test_what_they_are_mounted_as(container: Container, key: pathlib.Path) -> None:
    """Without the attributes of the bind; with `tmpfs`, which is swapped out."""
    mount = seen(container.says("cat /proc/self/mountinfo", "--credential", f"key:{key}"))[PLACE]
    assert mount.kind == "ramfs"
    assert {"ro", "nosuid", "nodev", "noexec"} <= mount.options
    assert mount.propagation == set()


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (33, 34)])
def test_whose_they_are(container: Container, key: pathlib.Path, uid: int, gid: int) -> None:
    """Without `Own` of the directory; with uid and gid the wrong way round; with 0440."""
    container.config["process"]["user"] = {"uid": uid, "gid": gid}
    assert container.says(WHOSE, "--credential", f"key:{key}") == said(uid, gid)


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (33, 34)])
def test_in_a_user_namespace(scene: Scene, key: pathlib.Path, uid: int, gid: int) -> None:
    """With a ramfs of the runtime's namespace, in which the ids are the host's."""
    into_user_namespace(scene)
    container = Container(scene.run, scene.bundle, scene.id)
    container.config["process"]["user"] = {"uid": uid, "gid": gid}
    assert container.says(WHOSE, "--credential", f"key:{key}") == said(uid, gid)


def test_in_a_user_namespace_that_is_joined(scene: Scene, key: pathlib.Path) -> None:
    """No config says what its maps are. The same."""
    into_user_namespace(scene)
    container = Container(scene.run, scene.bundle, scene.id)
    container.config["process"]["user"] = {"uid": 33, "gid": 34}
    holder = subprocess.Popen(["unshare", "--user", "sh", "-c", "echo up; exec sleep 60"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        holder.stdout.readline()
        linux = container.config["linux"]
        for kind in ("uid", "gid"):
            pathlib.Path(f"/proc/{holder.pid}/{kind}_map").write_text("0 100000 65536\n")
            del linux[f"{kind}Mappings"]
        linux["namespaces"][-1] = {"type": "user", "path": f"/proc/{holder.pid}/ns/user"}
        assert container.says(WHOSE, "--credential", f"key:{key}") == said(33, 34)
    finally:
        holder.kill()
        holder.communicate()


def test_what_is_in_them(container: Container, tmp_path: pathlib.Path) -> None:
    """With text in the place of bytes."""
    large = os.urandom(MIB - 512)
    given = {"binary": bytes(range(256)) * 2, "empty": b"", "large": large, "with a blank": b""}
    options: list[str] = []
    for name, content in given.items():
        (tmp_path / name).write_bytes(content)
        options += ["--credential", f"{name}:{tmp_path / name}"]
    told = container.says(f'cd {PLACE} && for n in *; do sha256sum <"$n"; echo "$n"; done', *options).splitlines()
    found = dict(zip(told[1::2], (line.split()[0] for line in told[::2])))
    assert found == {name: hashlib.sha256(content).hexdigest() for name, content in given.items()}


def test_one_of_a_mebibyte(container: Container, tmp_path: pathlib.Path) -> None:
    """With room for a byte less."""
    (tmp_path / "large").write_bytes(os.urandom(MIB))
    told = container.says(f"sha256sum <{PLACE}/x", "--credential", f"x:{tmp_path}/large")
    assert told.split()[0] == hashlib.sha256((tmp_path / "large").read_bytes()).hexdigest()


def test_hundreds(container: Container, key: pathlib.Path) -> None:
    """More than an init can name. With a descriptor of each that stays open, or that is kept by its number."""
    options = [word for number in range(300) for word in ("--credential", f"n{number}:{key}")]
    assert container.says(f"cat {PLACE}/* | wc -c; ls {PLACE} | wc -l", *options).split() == ["1800", "300"]


def test_nobody_changes_them(container: Container, key: pathlib.Path) -> None:
    """Not root with every capability either. Without `ro`."""
    sets = ("bounding", "permitted", "effective")
    container.config["process"]["capabilities"] = dict.fromkeys(sets, [f"CAP_{name}" for name in MIGHTY])
    tries = [
        "echo more >>key",
        "echo more >new",
        "chmod 444 key",
        "chown 1 key",
        "rm -f key",
        "mv key other",
        "chmod 755 .",
    ]
    script = f"cd {PLACE}; " + "".join(f"({one}) 2>&1; " for one in tries) + "cat key; echo; ls"
    *errors, content, listed = container.says(script, "--credential", f"key:{key}").splitlines()
    assert [error.rpartition(": ")[2] for error in errors] == len(tries) * ["Read-only file system"]
    assert (content, listed) == ("secret", "key")


def test_others_in_the_container_do_not_read_them(container: Container, key: pathlib.Path) -> None:
    """With a directory of mode 0555 and files of 0444."""
    container.create("exec sleep 1000", "--credential", f"key:{key}")
    container.start()
    done = container.run("exec", "--user", "33:34", container.name, "cat", f"{PLACE}/key")
    assert done.returncode == 1
    assert done.stderr == f"cat: can't open '{PLACE}/key': Permission denied\n"


def test_exec_is_told_too(container: Container, key: pathlib.Path) -> None:
    """With the config as it was read in the container's directory."""
    container.create("exec sleep 1000", "--credential", f"key:{key}")
    container.start()
    done = container.run("exec", container.name, "sh", "-c", "cat $CREDENTIALS_DIRECTORY/key", check=True)
    assert done.stdout == "secret"


def test_the_variable_of_the_config(container: Container, key: pathlib.Path) -> None:
    """It gives way only where credentials are asked for. Without the filter of the environment."""
    container.config["process"]["env"].append("CREDENTIALS_DIRECTORY=/mine")
    told = "tr '\\0' '\\n' </proc/1/environ | grep CREDENTIALS; true"
    assert container.says(told) == "CREDENTIALS_DIRECTORY=/mine"
    assert container.says(told, "--credential", f"key:{key}") == f"CREDENTIALS_DIRECTORY={PLACE}"


# -- where they are not


def test_they_are_nowhere_else(
    container: Container, tmp_path: pathlib.Path, bundle: Any, wait_until: Callable[..., Any]
) -> None:
    """Neither in the container's directory, nor in a log, a plan, an argument or what waits for the container's end.

    With the contents in the log; with contents that are not wiped.
    """
    secret = os.urandom(16).hex() + "-in-clear"
    (tmp_path / "key").write_text(secret)
    log, options = tmp_path / "log", ["--credential", f"key:{tmp_path}/key"]
    for more in ([], ["--json"]):
        plan = container.run("--debug", "plan", *more, *options, bundle.path, check=True)
        assert f"{PLACE}/key" in plan.stdout
        assert secret not in plan.stdout + plan.stderr
    bundle.sh("exec sleep 1000")
    words = ["--debug", "--log", log, "run", "--bundle", bundle.path, *options, container.name]
    waiting = subprocess.Popen(["pyoci", *words], stderr=subprocess.PIPE)
    try:
        wait_until(lambda: container.run("state", container.name).stdout.count('"running"'), "it to run")
        shown = container.run("exec", container.name, "cat", f"{PLACE}/key", check=True).stdout
        assert shown == secret
        kept = [path for path in pathlib.Path(f"/run/pyoci/{container.name}").rglob("*") if path.is_file()]
        assert "config.json" in {path.name for path in kept}
        for path in [log, *kept]:
            assert secret.encode() not in path.read_bytes(), path
        assert f"{PLACE}/key" in log.read_text()
        for place in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            assert secret.encode() not in place.read_bytes()
        assert secret.encode() not in heap(waiting.pid)
        first = container.state()["pid"]
        assert f" {PLACE} " in pathlib.Path(f"/proc/{first}/mountinfo").read_text()
        assert f" {PLACE} " not in pathlib.Path("/proc/self/mountinfo").read_text()
    finally:
        container.run("kill", container.name, "KILL")
        _, said = waiting.communicate(timeout=20)
    assert secret.encode() not in said


def heap(pid: int) -> bytes:
    """Return what a process may write to of its memory."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            first, last = (int(number, 16) for number in place.split("-"))
            if rights.startswith("rw"):
                memory.seek(first)
                found.append(memory.read(last - first))
    assert found
    return b"".join(found)


# -- what stands in the way

TMPFS = {"type": "tmpfs", "source": "tmpfs"}
# mounts of the config
IN_THE_WAY: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "at it": [{"destination": PLACE, **TMPFS}],
    "at it, read-only": [{"destination": PLACE, **TMPFS, "options": ["ro"]}],
    "above it, read-only": [{"destination": "/run", **TMPFS, "options": ["ro"]}],
    "below it": [{"destination": f"{PLACE}/key", **TMPFS}],
    "all": [{"destination": place, **TMPFS, "options": ["ro"]} for place in ("/run", "/run/host", PLACE)],
}


@pytest.mark.parametrize("case", IN_THE_WAY)
@pytest.mark.parametrize("readonly", [False, True])
def test_mounts_of_the_config(container: Container, key: pathlib.Path, case: str, readonly: bool) -> None:
    """Before those of the config; after the root has become read-only."""
    mounts = [mount for mount in container.config["mounts"] if mount["destination"] != "/run"]
    container.config["mounts"] = [*mounts, *IN_THE_WAY[case]]
    container.config["root"]["readonly"] = readonly
    assert container.says(WHOSE, "--credential", f"key:{key}") == said(0, 0)


def test_a_directory_of_the_host_s(container: Container, key: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """It gets a place for the mount, as for any other, and nothing in that. Without the `Bind`."""
    (tmp_path / "shared").mkdir()
    container.config["mounts"].append(
        {"destination": "/run/host", "type": "bind", "source": str(tmp_path / "shared"), "options": ["bind"]}
    )
    assert container.says(WHOSE, "--credential", f"key:{key}") == said(0, 0)
    assert [*(tmp_path / "shared").rglob("*")] == [tmp_path / "shared/credentials"]


def test_no_place_can_be_made(container: Container, key: pathlib.Path) -> None:
    """In an image that is read-only itself: said as of any other mount. The same."""
    rootfs = container.bundle.rootfs
    container.config["mounts"] = [mount for mount in container.config["mounts"] if mount["destination"] != "/run"]
    container.bundle.write()
    subprocess.run(["mount", "--bind", rootfs, rootfs], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", rootfs], check=True)
        done = container.run("run", "--credential", f"key:{key}", "--bundle", container.bundle.path, container.name)
    finally:
        subprocess.run(["umount", rootfs], check=True)
    assert done.returncode == 1
    assert done.stderr == f"pyoci: bind `ramfs` to `{PLACE}` (ro, nosuid, nodev, noexec): Read-only file system\n"


@pytest.mark.parametrize("case", ["fifo", "socket", "/dev/null", ".", "missing", "twice", "over"])
def test_what_is_refused(container: Container, tmp_path: pathlib.Path, key: pathlib.Path, case: str) -> None:
    """At once, in a line, and nothing is left. Without the look before the fifo is opened, or at the names so far."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "over").write_bytes(bytes(MIB + 1))
    words = {
        "fifo": "a fifo, and not a regular file", "socket": "a socket", "/dev/null": "a device, and not a regular file",
        ".": "a directory, and not a regular file", "missing": "No such file or directory",
        "over": "with it the credentials are over 1 MiB",
    }  # fmt: skip
    options = ["--credential", f"key:{case}"]
    line = f"pyoci: credential key: `{case}`: {words.get(case)}\n"
    if case == "twice":
        options, line = 2 * ["--credential", f"key:{key}"], "pyoci: credential key: given twice\n"
    began = time.monotonic()
    container.bundle.write()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        done = container.run("create", *options, "--bundle", container.bundle.path, container.name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, line)
    assert time.monotonic() - began < 5
    assert container.run("state", container.name).returncode != 0


def test_a_relative_path(container: Container, key: pathlib.Path) -> None:
    """Blanks are blanks. From `/`."""
    key = key.rename(key.with_name("the key"))
    container.bundle.sh(f"cat {PLACE}/key")
    words = ["run", "--credential", "key:./the key", "--bundle", str(container.bundle.path), container.name]
    assert container.run(*words, cwd=key.parent, check=True).stdout == "secret"


def test_no_annotation_reads_a_file_of_the_host_s(container: Container, key: pathlib.Path) -> None:
    """Podman 4 copies those of an image into config.json. Without the check."""
    container.config["annotations"] = {"org.pyoci.credential.key": str(key)}
    container.refused("annotations: org.pyoci.credential.key: an annotation may have come with the image")


# -- services


@pytest.mark.parametrize("uid", [0, 33])
def test_of_a_service(service: Service, key: pathlib.Path, wait_until: Callable[..., Any], uid: int) -> None:
    """LoadCredential=, for a program that is not root too. Without `--credentials` in the drop-in."""
    service.fitted("--credential", f"key:{key}", "--credential", f"other:{key}")
    service.bundle.config["process"]["user"] = {"uid": uid, "gid": uid}
    service.bundle.rootfs.chmod(0o777)
    service.start(f"cd $CREDENTIALS_DIRECTORY; ({WHOSE}; ls) >/told.new; mv /told.new /told; {LOOP}")
    wait_until((service.bundle.rootfs / "told").exists, "a word")
    assert (service.bundle.rootfs / "told").read_text() == said(uid, uid, "secretkey\nother\n")
    inside = service.run("exec", service.name, "sh", "-c", "cat $CREDENTIALS_DIRECTORY/other", check=True)
    assert inside.stdout == "secret"


def test_those_that_are_not_there(container: Container) -> None:
    """Without the look at the variable."""
    container.bundle.write()
    done = container.run("run", "--credentials", "--bundle", container.bundle.path, container.name)
    assert (done.returncode, done.stderr) == (1, "pyoci: --credentials: CREDENTIALS_DIRECTORY is not set\n")

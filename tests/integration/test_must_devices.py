"""The MUSTs of config-linux.md and runtime-linux.md on devices, links in /dev, masked and read-only paths."""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Container
from tests.integration.must_scene import console, crun_does_not, mount_of, read_until_closed
from tests.unit.bad_configs import without

NULL = {"type": "c", "path": "/dev/x", "major": 1, "minor": 3}
# A device, and what stat(1) says of it: kind and mode, owner, numbers.
DEVICES: dict[str, tuple[dict[str, Any], str]] = {
    "c": (NULL | {"fileMode": 0o600, "uid": 5, "gid": 6}, "crw------- 5:6 1,3"),
    "u": (NULL | {"type": "u", "fileMode": 0o666}, "crw-rw-rw- 0:0 1,3"),
    "b": (
        {"type": "b", "path": "/dev/x", "major": 7, "minor": 5, "fileMode": 0o640, "uid": 0, "gid": 6},
        "brw-r----- 0:6 7,5",
    ),
    "p": ({"type": "p", "path": "/dev/x", "fileMode": 0o622, "uid": 7, "gid": 8}, "prw--w--w- 7:8 0,0"),
    "elsewhere": (NULL | {"path": "/etc/deep/er/x", "fileMode": 0o600}, "crw------- 0:0 1,3"),
    "large numbers": (NULL | {"major": 300, "minor": 70000, "fileMode": 0o600}, "crw------- 0:0 12c,11170"),
}


@pytest.mark.parametrize("name", DEVICES)
def test_must_DEV1(container: Container, name: str) -> None:
    """Every device of the list is there, with its numbers, mode and owner."""
    device, seen = DEVICES[name]
    container.config["root"]["readonly"] = False
    container.config["linux"]["devices"] = [device]
    assert container.says(f"stat -c '%A %u:%g %t,%T' {device['path']}") == seen


def test_must_DEV1_works(container: Container) -> None:
    device = {"type": "c", "path": "/dev/nothing", "major": 1, "minor": 5, "fileMode": 0o666}
    container.config["linux"]["devices"] = [device]
    container.config["linux"]["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"}
    )
    assert container.says("head -c 5 /dev/nothing | wc -c") == "5"


BAD_DEVICES: list[Any] = [
    pytest.param(without("path", **NULL), id="no path"),
    pytest.param(without("type", **NULL), id="no type"),
    pytest.param(NULL | {"type": "x"}, id="another type"),
    pytest.param(NULL | {"path": "dev/x"}, id="relative"),
    pytest.param(without("major", **NULL), id="no major"),
    pytest.param(without("minor", **NULL), id="no minor"),
    pytest.param(without("minor", **NULL) | {"type": "b"}, id="block without minor"),
]


@crun_does_not("takes it in silence, or leaves a cgroup behind")
@pytest.mark.parametrize("device", BAD_DEVICES)
def test_must_DEV1_required(container: Container, device: dict[str, Any]) -> None:
    container.config["linux"]["devices"] = [device]
    container.refused("linux.devices.0")


# What is at the path already: nothing of it is the device that is asked for.
OTHERS: dict[str, Callable[[pathlib.Path], object]] = {
    "a file": lambda path: path.write_text("of the image"),
    "a directory": lambda path: path.mkdir(),
    "a fifo": os.mkfifo,
    "other numbers": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    "a block device": lambda path: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(1, 3)),
}


@crun_does_not("takes what is there for the device")
@pytest.mark.parametrize("what", OTHERS)
def test_must_DEV2(container: Container, what: str) -> None:
    """Something else at the path of a device is an error, and stays as it is."""
    container.config["root"]["readonly"] = False
    path = container.bundle.rootfs / "opt-x"
    OTHERS[what](path)
    before = path.lstat()
    container.config["linux"]["devices"] = [NULL | {"path": "/opt-x"}]
    container.refused("/opt-x")
    assert (path.lstat().st_mode, path.lstat().st_rdev) == (before.st_mode, before.st_rdev)


def test_must_DEV2_the_same(container: Container) -> None:
    container.config["root"]["readonly"] = False
    os.mknod(container.bundle.rootfs / "opt-x", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    container.config["linux"]["devices"] = [NULL | {"path": "/opt-x"}]
    assert container.says("stat -c '%F %t,%T' /opt-x") == "character special file 1,3"


# The devices that every container has, their numbers, and a program that shows that they work.
DEFAULTS = {
    "null": ("1,3", "echo x >/dev/null && cat /dev/null"),
    "zero": ("1,5", "head -c 3 /dev/zero | wc -c"),
    "full": ("1,7", "echo x >/dev/full || echo full"),
    "random": ("1,8", "head -c 3 /dev/random | wc -c"),
    "urandom": ("1,9", "head -c 3 /dev/urandom | wc -c"),
    "tty": ("5,0", "cat </dev/tty || echo no terminal"),
}
SAID = {"null": "", "full": "full", "tty": "no terminal"}


@pytest.mark.parametrize("name", DEFAULTS)
def test_must_DEV3(container: Container, name: str) -> None:
    """The default devices are there and can be used, though no rule says so."""
    numbers, script = DEFAULTS[name]
    # they may have been made in place or bound from the host: what counts is which devices they are
    assert container.says(f"stat -L -c '%F %t,%T %a' /dev/{name}; {{ {script}; }} 2>/dev/null").splitlines() == [
        f"character special file {numbers} 666",
        *[line for line in [SAID.get(name, "3")] if line],
    ]


def test_must_DEV3_ptmx(container: Container) -> None:
    """/dev/ptmx is that of the container's own devpts."""
    seen = container.says("stat -L -c '%t,%T' /dev/ptmx /dev/pts/ptmx; stat -L -c %d /dev/ptmx /dev/pts/ptmx /dev/pts")
    kinds, where = seen.splitlines()[:2], seen.splitlines()[2:]
    assert kinds == ["5,2"] * 2
    assert len(set(where)) == 1


def test_must_DEV3_console(container: Container, tmp_path: pathlib.Path) -> None:
    """With a terminal, /dev/console is that terminal; the runtime's caller has its other side."""
    container.config["process"]["terminal"] = True
    with console(tmp_path) as socket:
        script = "tty; test /dev/console -ef $(tty) || stat -c '%t,%T' /dev/console $(tty); echo through >/dev/console; cat /proc/self/mountinfo"
        container.create(script, "--console-socket", socket.path)
        terminal = socket.master()
        container.start()
        said = read_until_closed(terminal)
        container.delete()
    assert "through\n" in said
    assert mount_of("/dev/console", said[said.index("through\n") + 8 :])
    assert not {line for line in said.splitlines() if line.startswith("5,1")}


def test_must_DEV3_no_console(container: Container) -> None:
    assert container.says("test -e /dev/console || echo none") == "none"


LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}


@pytest.mark.parametrize("name", LINKS)
def test_must_LX1(container: Container, name: str) -> None:
    """/dev has links to the descriptors of who looks."""
    assert container.says(f"readlink /dev/{name}") == LINKS[name]


RULES = {"+": {"allow": True}, "-": {"allow": False}}


@crun_does_not("refuses a deny")
@pytest.mark.parametrize(("order", "opened"), [("", "yes"), ("-", "no"), ("-+", "yes"), ("+-", "no"), ("-+-", "no")])
def test_must_CG4(container: Container, order: str, opened: str) -> None:
    """The last rule for a device decides."""
    about = {"type": "c", "major": 1, "minor": 7, "access": "rw"}
    rules = [{"allow": True, "access": "rwm"}, *(RULES[sign] | about for sign in order)]
    container.config["linux"]["resources"] = {"devices": rules}
    assert container.says("true </dev/full && echo yes || echo no") == opened


@crun_does_not("takes it for a deny")
def test_must_CG4_allow(container: Container) -> None:
    container.config["linux"]["resources"] = {"devices": [{"access": "rwm"}]}
    container.refused("linux.resources.devices.0")


PATHS = "test -d /etc/dir && ls -A /etc/dir; cat /etc/file; cat /root/file"


@pytest.fixture
def furnished(container: Container) -> Container:
    """Return a container with /etc/file, /etc/dir/inner and /root/file, whose image can be written to."""
    container.config["root"]["readonly"] = False
    (container.bundle.rootfs / "etc/dir").mkdir()
    for name in ("etc/file", "etc/dir/inner", "root/file"):
        (container.bundle.rootfs / name).write_text(f"{name}\n")
    return container


def test_must_PTH1(furnished: Container) -> None:
    """Masked paths cannot be read; those that are not there are nothing."""
    assert furnished.says(PATHS) == "inner\netc/file\nroot/file"
    furnished.config["linux"]["maskedPaths"] = ["/etc/file", "/etc/dir", "/no/such/path"]
    assert furnished.says(PATHS) == "root/file"
    assert (furnished.bundle.rootfs / "etc/file").read_text() == "etc/file\n"


def test_must_PTH1_readonly(furnished: Container) -> None:
    write = "for path in /etc/file /etc/dir/inner /root/file; do (echo >>$path) 2>/dev/null && echo $path; done; true"
    assert furnished.says(write).split() == ["/etc/file", "/etc/dir/inner", "/root/file"]
    furnished.config["linux"]["readonlyPaths"] = ["/etc/file", "/etc/dir", "/no/such/path"]
    assert furnished.says(write).split() == ["/root/file"]
    assert furnished.says("cat /etc/file").split() == ["etc/file"]


@crun_does_not("takes a relative path as if it began with `/`")
@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
@pytest.mark.parametrize("path", ["etc/file", "./etc", ""])
def test_must_PTH1_absolute(furnished: Container, key: str, path: str) -> None:
    furnished.config["linux"][key] = [path]
    furnished.refused(f"linux.{key}.0")

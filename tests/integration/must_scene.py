"""What the tests of the runtime specification's MUSTs share: who fails one and why, consoles, other namespaces."""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.integration.conftest import CRUN, Bundle

SECONDS = 10.0


def crun_does_not(reason: str) -> pytest.MarkDecorator:
    """Skip under crun what crun is known not to do."""
    return pytest.mark.skipif(CRUN, reason=f"crun: {reason}")


class Mount(NamedTuple):
    """A line of mountinfo."""

    target: str
    options: set[str]
    tags: set[str]
    """of its propagation, without numbers: `shared`, `master`, `unbindable`"""
    data: set[str]
    """the options of the file system"""


def mounts_of(mountinfo: str) -> Iterator[Mount]:
    """Yield the mounts of a mountinfo, in its order: of two on one target the later one hides the other."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        _, _, _, _, target, options, *tags = left.split()
        yield Mount(
            target, set(options.split(",")), {tag.split(":")[0] for tag in tags}, set(right.split()[-1].split(","))
        )


def mount_of(target: str, mountinfo: str) -> Mount:
    """Return the uppermost mount on a target."""
    [*_, it] = [mount for mount in mounts_of(mountinfo) if mount.target == target]
    return it


def add_namespace(bundle: Bundle, kind: str, path: str | os.PathLike[str] | None = None) -> None:
    """Ask for a namespace of a kind instead of what the config asks for that kind."""
    namespaces = bundle.config["linux"]["namespaces"]
    drop_namespace(bundle, kind)
    namespaces.append({"type": kind} if path is None else {"type": kind, "path": str(path)})


def drop_namespace(bundle: Bundle, kind: str) -> None:
    """Do not ask for a namespace of a kind."""
    namespaces = bundle.config["linux"]["namespaces"]
    namespaces[:] = [namespace for namespace in namespaces if namespace["type"] != kind]


def user_namespace(bundle: Bundle, host: int = 100000, size: int = 65536) -> None:
    """Ask for a user namespace whose ids begin at `host`, and let its root reach the root filesystem."""
    add_namespace(bundle, "user")
    bundle.config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": host, "size": size}]
    bundle.config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": host, "size": size}]
    for directory in (bundle.rootfs, *bundle.rootfs.parents[:-1]):
        directory.chmod(directory.stat().st_mode | 0o011)
    for path in (bundle.rootfs, *bundle.rootfs.rglob("*")):
        os.chown(path, host, host, follow_symlinks=False)


@contextlib.contextmanager
def elsewhere(*options: str) -> Iterator[int]:
    """Have a process in new namespaces (options of unshare(1)) for as long as the block takes: its pid."""
    # unshare says `ready` by running cat, so that its namespaces are there when we read it
    process = subprocess.Popen(
        ["unshare", *options, "--", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    with process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(SECONDS)


class Console:
    """A console socket: `path` is for the runtime, `master` receives the terminal's other side."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(SECONDS)
        self.terminals: list[int] = []

    def master(self) -> int:
        """Return the descriptor that the runtime sends."""
        with self.listener.accept()[0] as connection:
            connection.settimeout(SECONDS)
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        self.terminals += descriptors
        [terminal] = descriptors
        return terminal

    def close(self) -> None:
        """Close the socket and every terminal."""
        self.listener.close()
        for terminal in self.terminals:
            os.close(terminal)


@contextlib.contextmanager
def console(directory: pathlib.Path) -> Iterator[Console]:
    """Have a console socket for as long as the block takes."""
    it = Console(directory / "console.sock")
    try:
        yield it
    finally:
        it.close()


def read_until_closed(terminal: int) -> str:
    """Return what comes from a terminal until its other side is closed."""
    heard = b""
    while select.select([terminal], [], [], SECONDS)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # EIO: nobody has the other side any more
            break
        if not piece:
            break
        heard += piece
    else:
        pytest.fail(f"the terminal stays open; so far: {heard!r}")
    return heard.decode().replace("\r\n", "\n")

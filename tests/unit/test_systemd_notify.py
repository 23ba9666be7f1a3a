"""sd_notify(3): what reaches the manager's socket, by a path and by an abstract name."""

from __future__ import annotations

import os
import pathlib
import socket

import pytest

from pyoci_systemd.errors import Error
from pyoci_systemd.systemd.notify import Manager


@pytest.mark.parametrize("abstract", [False, True])
def test_tell(tmp_path: pathlib.Path, abstract: bool) -> None:
    address = f"@pyoci-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(address.replace("@", "\0", 1) if abstract else address)
        inbox.settimeout(5)
        Manager(address).tell([b"READY=1", b"STATUS=running"])
        assert inbox.recv(4096) == b"READY=1\nSTATUS=running"


@pytest.mark.parametrize("address", ["", "/", "@", "run/notify", "vsock:2:1", "/" + "x" * 107])
def test_no_socket(address: str) -> None:
    with pytest.raises(Error, match="NOTIFY_SOCKET"):
        Manager(address)


def test_nobody_listens(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        Manager(str(tmp_path / "notify")).tell([b"READY=1"])

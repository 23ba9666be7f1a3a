"""What is in credentials: how it is read, what is refused, and where alone it goes."""

from __future__ import annotations

import array
import errno
import os
import pathlib
import posix
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci_systemd.container.secrets import Secrets
from pyoci_systemd.errors import Error
from pyoci_systemd.init.dialogue import ERROR, GATE, Init
from pyoci_systemd.plan.words import CREDENTIAL_GATE
from pyoci_systemd.settings import Options

MIB = 1 << 20


def read(*credential: str, service: bool = False) -> Secrets:
    return Secrets(Options(credential=list(credential), credentials=service))


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Return the working directory, in which there is one of each kind of file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "key").write_bytes(b"secret")
    (tmp_path / "none").touch()
    (tmp_path / "link").symlink_to("key")
    (tmp_path / "astray").symlink_to("nowhere")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    with (tmp_path / "full").open("wb") as file:
        file.truncate(MIB)
    with (tmp_path / "over").open("wb") as file:
        file.truncate(MIB + 1)
    return tmp_path


def test_what_is_read(here: pathlib.Path) -> None:
    assert read("a:key", f"b:{here}/link", "c:none", "d:/proc/sys/kernel/ostype").sizes() == {
        "a": 6,
        "b": 6,
        "c": 0,
        "d": 6,
    }
    assert read("full:full", "none:none").sizes() == {"full": MIB, "none": 0}


# what is asked for; the error
REFUSED = [
    (["a:missing"], "credential a: `missing`: No such file or directory"),
    (["a:key/below"], "credential a: `key/below`: Not a directory"),
    (["a:astray"], "credential a: `astray`: No such file or directory"),
    (["a:directory"], "credential a: `directory`: a directory, and not a regular file"),
    (["a:fifo"], "credential a: `fifo`: a fifo, and not a regular file"),
    (["a:/dev/null"], "credential a: `/dev/null`: a device, and not a regular file"),
    (["a:socket"], "credential a: `socket`: a socket"),
    (["a:over"], "credential a: `over`: with it the credentials are over 1 MiB"),
    (["a:full", "b:key"], "credential b: `key`: with it the credentials are over 1 MiB"),
    (["a:key", "a:none"], "credential a: given twice"),
    (["a"], "--credential: `a` is not of the form `NAME:PATH`"),
    (
        ["../a:key"],
        "credential `../a`: not the name of a credential: up to 255 characters of printable ASCII, and no `/` or `:`",
    ),
    (["a:k\0y"], "credential a: `k\\x00y`: a path cannot hold NUL"),
    (["a:k\ny"], "credential a: `k\\ny`: No such file or directory"),
]


@pytest.mark.parametrize(("asked", "words"), REFUSED)
def test_what_is_refused(asked: list[str], words: str, here: pathlib.Path) -> None:
    """At once: nobody writes to the fifo."""
    with pytest.raises(Error) as caught:
        read(*asked)
    assert caught.value.message == words


def test_what_may_not_be_read(here: pathlib.Path) -> None:
    """By a user, for whom it is the file that says so."""
    (here / "key").chmod(0)
    script = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" if os.geteuid() == 0 else ""
    script += (
        "from pyoci_systemd.container.secrets import contents\nfrom pyoci_systemd.errors import Error\n"
        "try:\n    contents('/proc/self/cwd/key', 'credential a: `key`', 10)\n"
        "except Error as error:\n    print(error.message)\n"
    )
    for path in (here, *list(here.parents)[:3]):
        path.chmod(path.stat().st_mode | 0o111)
    checkout = pathlib.Path(__file__).resolve().parents[2]
    begin = f"import sys; sys.path.insert(0, {str(checkout)!r}); import pyoci_systemd.container.secrets\n"
    done = subprocess.run([sys.executable, "-c", begin + script], cwd=here, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("credential a: `key`: Permission denied\n", "")


# -- those of the service that we are


def test_of_the_service(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = here / "given"
    given.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    assert read(service=True).sizes() == {}
    (given / "token").write_bytes(b"12345")
    (given / "with a blank").write_bytes(b"1")
    assert read("key:key", service=True).sizes() == {"key": 6, "token": 5, "with a blank": 1}
    assert read("key:key").sizes() == {"key": 6}
    with pytest.raises(Error, match=r"^credential token: given twice$"):
        read("token:key", service=True)
    (given / "a:b").touch()
    with pytest.raises(Error, match=r"^credential `a:b`: not the name of a credential: up to 255 "):
        read(service=True)


def test_of_no_service(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Error, match=r"^--credentials: CREDENTIALS_DIRECTORY is not set$"):
        read(service=True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(here / "missing"))
    with pytest.raises(Error, match=r"^--credentials: `.*/missing`: No such file or directory$"):
        read(service=True)


# -- where it goes


class Other:
    """The init's end of the dialogue."""

    def __init__(self) -> None:
        ours, self.channel = socket.socketpair()
        ours.settimeout(5)
        self.channel.settimeout(5)
        self.init = Init(ours, 0)

    def shows(self, *files: int) -> None:
        for file in files:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
            self.channel.sendmsg([struct.pack("=IIixxxxq", GATE, 0, 0, CREDENTIAL_GATE)], rights)


@pytest.fixture
def other() -> Iterator[Other]:
    made = Other()
    yield made
    made.channel.close()
    made.init.channel.close()


def failed(reply: Any) -> Error:
    return Error(f"op {reply.index}: {os.strerror(reply.error)}")


def test_it_is_written_and_forgotten(here: pathlib.Path, other: Other) -> None:
    given = read("key:key", "none:none", "full:/dev/../proc/self/cwd/none", "more:link")
    files = [os.memfd_create(name) for name in given.sizes()]
    open_before = len(os.listdir("/proc/self/fd"))
    other.shows(*files)
    given.deliver(other.init, failed)
    assert [os.pread(file, 100, 0) for file in files] == [b"secret", b"", b"", b"secret"]
    assert other.channel.recv(10) == b"gggg"
    assert given.sizes() == {}
    assert "secret" not in str(vars(given))
    assert len(os.listdir("/proc/self/fd")) == open_before
    for file in files:
        os.close(file)


def test_it_cannot_be_written(here: pathlib.Path, other: Other) -> None:
    """A file that is full, and an init that has failed."""
    full = os.open("/dev/full", os.O_WRONLY)
    other.shows(full)
    os.close(full)
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Error, match=r"^credential key: cannot be written: No space left on device$"):
        read("key:key").deliver(other.init, failed)
    assert len(os.listdir("/proc/self/fd")) == open_before
    other.channel.send(struct.pack("=IIixxxxq", ERROR, 3, errno.EMFILE, 0))
    with pytest.raises(Error, match=r"^op 3: Too many open files$"):
        read("key:key").deliver(other.init, failed)


def test_it_is_written_whole_and_wiped(here: pathlib.Path, other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is taken at once."""
    given, file, taken = read("key:key"), os.memfd_create("file"), os.write
    [content] = given._contents.values()
    monkeypatch.setattr(posix, "write", lambda fd, data: taken(fd, bytes(data[:4])))
    other.shows(file)
    given.deliver(other.init, failed)
    assert os.pread(file, 100, 0) == b"secret"
    assert content == bytes(6)
    os.close(file)

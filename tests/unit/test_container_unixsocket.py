"""Unix sockets at paths of any length."""

from __future__ import annotations

import errno
import os
import pathlib
import threading
from contextlib import closing

import pytest

from pyoci_systemd.container import unixsocket


@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("name", ["start", "x" * unixsocket.LONGEST, "ä" * 40, "\udcff"])
def test_listen_and_connect(depth: int, name: str, tmp_path: pathlib.Path) -> None:
    directory = tmp_path.joinpath(*["d" * 100] * depth)
    directory.mkdir(parents=True, exist_ok=True)
    before = os.listdir("/proc/self/fd")
    with (
        closing(unixsocket.listen(f"{directory}/{name}")) as gate,
        closing(unixsocket.connect(f"{directory}/{name}", 5)) as peer,
    ):
        accepted = gate._accept()[0]  # type: ignore[attr-defined]
        assert not os.get_inheritable(peer.fileno()) and not os.get_inheritable(gate.fileno())
        peer.send(b"x")
        assert os.read(accepted, 9) == b"x"
        os.close(accepted)
        assert peer.gettimeout() == 5
    assert os.listdir("/proc/self/fd") == before


def test_relative(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(unixsocket.listen("start")):
        for path in ("start", "./start"):
            unixsocket.connect(path, 5).close()


@pytest.mark.parametrize(("path", "error"), [
    ("none/start", errno.ENOENT), ("none", errno.ENOENT), ("file/start", errno.ENOTDIR), ("file", errno.ECONNREFUSED),
    ("x" * (unixsocket.LONGEST + 1), errno.ENAMETOOLONG), ("ä" * 41, errno.ENAMETOOLONG),
])  # fmt: skip
def test_nobody_listens(path: str, error: int, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError) as caught:
        unixsocket.connect(f"{tmp_path}/{path}", 5)
    assert caught.value.errno == error
    assert os.listdir("/proc/self/fd") == before


def test_listen_where_something_is(tmp_path: pathlib.Path) -> None:
    (tmp_path / "start").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError) as caught:
        unixsocket.listen(f"{tmp_path}/start")
    assert caught.value.errno == errno.EADDRINUSE
    assert not (tmp_path / "elsewhere").exists()


def test_one_that_does_not_answer_is_not_waited_for_long(tmp_path: pathlib.Path) -> None:
    with (
        closing(unixsocket.listen(f"{tmp_path}/start")),
        closing(unixsocket.connect(f"{tmp_path}/start", 0.02)) as peer,
        pytest.raises(TimeoutError),
    ):
        peer.recv(1)


def test_sockets_of_several_threads(tmp_path: pathlib.Path) -> None:
    """Each is named below a descriptor of its own."""
    made = []

    def make(number: int) -> None:
        (tmp_path / str(number)).mkdir()
        made.append(unixsocket.listen(f"{tmp_path}/{number}/start"))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((tmp_path / str(number) / "start").is_socket() for number in range(8))
    for gate in made:
        gate.close()

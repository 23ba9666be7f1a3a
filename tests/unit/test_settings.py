"""Where containers are remembered, and whose they are."""

from __future__ import annotations

import pathlib

import pytest

from pyoci_systemd.container import scope
from pyoci_systemd.errors import BusError, Error
from pyoci_systemd.settings import Settings, environ, is_rootless, runtime_dir
from tests.unit.users import as_user

USER, MACHINE, NOBODY = 1000, 0, 65534

# euid, who has made /run/systemd/system (None: nobody) and /run, is it a user's
WHOSE = [
    (0, MACHINE, MACHINE, False),
    (0, None, MACHINE, False),
    (0, NOBODY, NOBODY, True),  # podman's namespace of a user
    (0, None, NOBODY, True),
    (0, NOBODY, 0, True),  # one with a /run of its own, in which links lead to the machine's
    (USER, MACHINE, MACHINE, True),
    (USER, None, MACHINE, True),
]


@pytest.mark.parametrize(("euid", "systemd", "run", "rootless"), WHOSE)
def test_whose_containers_they_are(
    euid: int, systemd: int | None, run: int, rootless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, euid, systemd=systemd, run=run)
    assert is_rootless() == rootless


@pytest.mark.parametrize("directory", [None, "", "/run/user/0", "/nonexistent"])
def test_root_has_one_root(directory: str | None, monkeypatch: pytest.MonkeyPatch) -> None:  # D5
    as_user(monkeypatch, 0, directory)
    assert Settings().root == "/run/pyoci"


def test_a_users_root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    as_user(monkeypatch, USER, str(tmp_path), owner=USER)
    assert Settings().root == f"{tmp_path}/pyoci"
    assert Settings(given_root="/r").root == "/r"


@pytest.mark.parametrize("directory", [None, ""])
def test_no_session(directory: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, USER, directory)
    with pytest.raises(Error, match="^XDG_RUNTIME_DIR is not set$") as caught:
        print(Settings().root)
    assert "loginctl enable-linger" in caught.value.hint


def test_a_session_that_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, USER, None, there={"/run/user/1000"})
    with pytest.raises(Error) as caught:
        runtime_dir()
    assert "`export XDG_RUNTIME_DIR=/run/user/1000`" in caught.value.hint


FAULTS = {
    "absent": "`: No such file or directory",
    "link": "` is not a directory",
    "file": "` is not a directory",
    "open": "` is open to others",
    "foreign": "` belongs to another user, ",
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.items())
def test_a_runtime_directory_must_be_ours_alone(
    fault: str, words: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    if fault == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        path.symlink_to("real")
    elif fault == "file":
        path.touch(mode=0o700)
    elif fault != "absent":
        path.mkdir()
        path.chmod(0o750 if fault == "open" else 0o700)
    as_user(monkeypatch, USER, str(path), owner=USER + (fault == "foreign"))
    with pytest.raises(Error, match=f"^XDG_RUNTIME_DIR `{path}{words}") as caught:
        runtime_dir()
    assert caught.value.hint or fault in ("link", "file")


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, USER, "")
    assert environ("XDG_RUNTIME_DIR") == ""


@pytest.mark.parametrize("address", ["", "unix:path=/elsewhere"])
def test_no_bus_but_the_users_own(address: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    variables = {"DBUS_SESSION_BUS_ADDRESS": address, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/x"}
    as_user(monkeypatch, USER, str(tmp_path), owner=USER, variables=variables)
    with pytest.raises(BusError, match=f"^no user session bus at `{tmp_path}/bus`: it is not there$") as caught:
        scope.connect()
    assert "loginctl enable-linger" in caught.value.hint


def test_a_bus_on_which_nobody_listens(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "bus").touch()
    as_user(monkeypatch, USER, str(tmp_path), owner=USER)
    with pytest.raises(BusError, match=f"^no user session bus at `{tmp_path}/bus`: Connection refused$"):
        scope.connect()

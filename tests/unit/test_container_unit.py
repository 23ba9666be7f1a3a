"""`pyoci unit`: the files that it writes, all or none; and what comes next."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from pyoci_systemd.cli.options import defaults
from pyoci_systemd.cli.verbs import VERBS
from pyoci_systemd.container import unit
from pyoci_systemd.errors import Error
from pyoci_systemd.settings import Options, Settings

SERVICE, SOCKET = "pyoci@web.service.d/50-pyoci.conf", "pyoci@web.socket.d/50-pyoci.conf"


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Stands in for /etc/systemd/system; beside it is a bundle."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/config.json").touch()
    (tmp_path / "units").mkdir()
    monkeypatch.setattr(unit, "SYSTEM", str(tmp_path / "units"))
    return tmp_path / "units"


def call(home: pathlib.Path, **given: Any) -> None:
    chosen = {"bundle": str(home.parent / "bundle"), "id": "web", **given}
    assert unit.main(Settings(), Options(**{**defaults(VERBS["unit"].options), **chosen})) == 0


def files(home: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_written_and_written_anew(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(home, sockets=["80"])
    assert files(home) == [SERVICE, SOCKET]
    assert (home / SERVICE).stat().st_mode & 0o777 == 0o644
    assert capsys.readouterr().out == (
        f"wrote `{home / SERVICE}`\nwrote `{home / SOCKET}`\nnext:\n"
        "    systemctl daemon-reload\n    systemctl enable --now pyoci@web.socket\n"
    )
    call(home, sockets=["80"])
    assert capsys.readouterr().out.startswith(f"`{home / SERVICE}` stays as it is\n`{home / SOCKET}` stays as it is\n")
    call(home, restart="always")
    assert files(home) == [SERVICE]
    assert not (home / SOCKET).parent.exists()
    assert capsys.readouterr().out == (
        f"wrote `{home / SERVICE}`\nremoved `{home / SOCKET}`\nnext:\n"
        "    systemctl daemon-reload\n    systemctl enable --now pyoci@web.service\n"
    )


def test_removed_but_for_what_others_wrote(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(home, sockets=["80"])
    (home / SERVICE).with_name("60-mine.conf").write_text("[Service]\nMemoryMax=1G\n")
    capsys.readouterr()
    call(home, remove=True, bundle="")
    assert files(home) == ["pyoci@web.service.d/60-mine.conf"]
    assert "systemctl disable --now pyoci@web.socket pyoci@web.service" in capsys.readouterr().out
    call(home, remove=True, bundle="")


ASKED: dict[str, Any] = {
    "--bundle": {"bundle": "/srv"}, "--socket": {"sockets": ["80"]}, "--restart": {"restart": "no"},
    "--notify": {"notify": "none"}, "--watchdog": {"watchdog": "3"}, "--stop-timeout": {"stop_timeout": "3"},
    "--credential": {"load_credentials": ["a"]}, "--after": {"after": ["a.service"]},
}  # fmt: skip


@pytest.mark.parametrize("option", ASKED)
def test_what_is_removed_is_not_asked_for(home: pathlib.Path, option: str) -> None:
    assert option in {word for _, words, *_ in VERBS["unit"].options for word in words}
    call(home)
    before = files(home)
    with pytest.raises(Error, match=f"^unit: `{option}` has no effect on `--remove`$") as caught:
        call(home, **{"remove": True, "bundle": "", **ASKED[option]})
    assert (caught.value.status, files(home)) == (2, before)


@pytest.mark.parametrize("given", [{"bundle": "/nonexistent"}, {"sockets": ["web"]}, {"id": "a+b"}, {"id": "../web"}])
def test_a_mistake_writes_nothing(home: pathlib.Path, given: dict[str, Any]) -> None:
    with pytest.raises(Error):
        call(home, **given)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(("uid", "user", "hint"), [
    (0, False, ""), (1000, False, "`--user` is for the units of a user"), (1000, True, ""),
])  # fmt: skip
def test_no_bundle(home: pathlib.Path, monkeypatch: pytest.MonkeyPatch, uid: int, user: bool, hint: str) -> None:
    monkeypatch.setattr("posix.geteuid", lambda: uid)
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(Error, match="bundle: `.*/nowhere/config.json`: No such file or directory") as caught:
        call(home, bundle=f"{home}/nowhere", of_user=user)
    assert caught.value.hint == hint
    assert files(home) == []


def test_one_that_cannot_be_written_takes_the_other_back(home: pathlib.Path) -> None:
    call(home, restart="always")
    before = (home / SERVICE).read_text()
    (home / "pyoci@web.socket.d").touch()
    with pytest.raises(Error, match=r"cannot .*pyoci@web\.socket\.d"):
        call(home, sockets=["80"])
    assert (home / SERVICE).read_text() == before
    assert files(home) == [SERVICE, "pyoci@web.socket.d"]


def test_what_cannot_be_taken_back_hides_no_error(home: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that failed is told, and the rest is taken back all the same: red with a bare put()."""
    call(home, sockets=["80"])
    put = unit.put
    tried: list[str] = []

    def fail(path: str, text: str) -> None:
        tried.append(path.removeprefix(f"{home}/"))
        if len(tried) == 1 or len(tried) == 4:
            put(path, text)
        else:
            raise Error("at first" if len(tried) == 2 else "again")

    monkeypatch.setattr(unit, "put", fail)
    with pytest.raises(Error, match="^at first$"):
        call(home, sockets=["81"], restart="always")
    assert tried == [SERVICE, SOCKET, SERVICE, SOCKET]


def test_a_long_one_is_compared_whole(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red with one read(2) of 64 KiB."""
    many = [f"/run/{'x' * 90}{number}" for number in range(1000)]
    call(home, sockets=many)
    capsys.readouterr()
    call(home, sockets=many)
    assert f"`{home / SOCKET}` stays as it is\n" in capsys.readouterr().out


def test_of_a_user(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    # the front door reads the environment as bytes
    monkeypatch.setattr(unit, "environ", lambda name: {"HOME": str(tmp_path)}.get(name, ""))
    bundle = tmp_path / ".local/share/pyoci/web"
    bundle.mkdir(parents=True)
    (bundle / "config.json").touch()
    call(tmp_path, of_user=True, bundle="", sockets=["8080"])
    assert (tmp_path / ".config/systemd/user" / SOCKET).exists()
    assert "    systemctl --user enable --now pyoci@web.socket\n" in capsys.readouterr().out

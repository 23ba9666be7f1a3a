"""`pyoci spec` writes a config that we accept, and never over another."""

from __future__ import annotations

import errno
import os
import posix
from pathlib import Path

import pytest

from pyoci_systemd.container import spec
from pyoci_systemd.errors import Error
from pyoci_systemd.settings import Options, Settings
from pyoci_systemd.spec.defaults import default_config
from pyoci_systemd.spec.load import load


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(bundle: str = "", file: str = "", rootless: bool = False) -> None:
    assert spec.main(Settings(), Options(bundle=bundle, file=file, rootless=rootless)) == 0


# bundle, file, where the config is found
PLACES = [
    ("", "", "config.json"),
    ("b", "", "b/config.json"),
    ("b/", "", "b/config.json"),
    ("", "other.json", "other.json"),
    ("b", "other.json", "b/other.json"),
    ("b", "/TMP/other.json", "other.json"),
]


@pytest.mark.parametrize(("bundle", "file", "place"), PLACES)
@pytest.mark.parametrize("rootless", [False, True])
def test_place(bundle: str, file: str, place: str, rootless: bool, here: Path) -> None:
    (here / "b").mkdir()
    write(bundle, file.replace("/TMP", str(here)), rootless)
    assert [str(path.relative_to(here)) for path in here.rglob("*.json")] == [place]
    text = (here / place).read_bytes()
    assert load(text) == load(text) == default_config(rootless)
    assert text.endswith(b"\n}\n")


def test_rootless_differs() -> None:
    assert default_config(True) != default_config(False)


def test_existing_config_is_left_alone(here: Path) -> None:
    (here / "config.json").write_text("mine")
    with pytest.raises(Error, match="^`config.json` exists$"):
        write()
    assert (here / "config.json").read_text() == "mine"


def test_dangling_link_is_left_alone(here: Path) -> None:
    (here / "config.json").symlink_to("elsewhere")
    with pytest.raises(Error, match="^`config.json` exists$"):
        write()
    assert not (here / "elsewhere").exists()


def test_named_file_is_written_over(here: Path) -> None:
    (here / "config.json").write_text("x" * 100_000)
    write(file="config.json")
    load((here / "config.json").read_bytes())


@pytest.mark.parametrize(("bundle", "file", "message"), [
    ("nowhere", "", "cannot write `nowhere/config.json`: No such file or directory"),
    ("", "nowhere/x", "cannot write `nowhere/x`: No such file or directory"),
    ("", "/", "cannot write `/`: Is a directory"),
    ("", "/dev/full", "cannot write `/dev/full`: No space left on device"),
])  # fmt: skip
def test_failure(bundle: str, file: str, message: str) -> None:
    with pytest.raises(Error) as caught:
        write(bundle, file)
    assert caught.value.message == message


def test_failed_write_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "full")
        return os.write(fd, data[:50])

    monkeypatch.setattr(posix, "write", full)
    with pytest.raises(Error, match="No space left on device$"):
        write()
    assert list(here.iterdir()) == []

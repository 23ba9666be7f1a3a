"""Click's side: help pages and completion."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyoci_systemd import settings
from pyoci_systemd.cli import commands
from pyoci_systemd.cli.options import GLOBALS, HELP_ROWS, Verb
from pyoci_systemd.cli.verbs import VERBS


def shown(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert commands.understand(args) is None
    return capsys.readouterr().out


@pytest.mark.parametrize("form", HELP_ROWS[0][1])
def test_help(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown([form], capsys)
    assert page.startswith("Usage: pyoci ")
    for _, forms, _, value, _ in GLOBALS:
        assert ", ".join(forms) in page
        assert value in page
    for verb in VERBS.values():
        assert verb.name in page
        assert verb.group in page


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: str(verb.name))
@pytest.mark.parametrize("form", HELP_ROWS[0][1])
def test_help_of_a_verb(form: str, verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown([verb.name, form], capsys)
    assert page.startswith(f"Usage: pyoci {verb.name} ")
    unfolded = " ".join(page.split())
    assert verb.summary in unfolded
    assert verb.text in unfolded
    places = []
    for _, forms, _, value, text in verb.options:
        assert value in page
        assert text in unfolded
        places.append(page.index(f"  {', '.join(forms)}"))
    assert places == sorted(places), "options stand in the order of the table"
    assert f"Example:\n  {verb.example}\n" in page
    assert all(name in page.splitlines()[0] for _, name, _ in verb.arguments)


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: str(verb.name))
def test_examples_are_right(verb: Verb) -> None:
    name, *args = verb.example.split()
    understood = commands.understand(args)
    assert name == "pyoci"
    assert understood is not None
    assert understood[1] == verb.name


@pytest.mark.parametrize(("args", "form"), [
    (["--usage"], "Usage: pyoci [OPTION]… COMMAND [ARGUMENT]…\n"),
    (["kill", "--usage"], "Usage: pyoci kill [OPTION]… ID [SIGNAL]\n"),
    (["list", "--usage"], "Usage: pyoci list [OPTION]…\n"),
])  # fmt: skip
def test_usage(args: list[str], form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(args, capsys) == form


# the words typed, the last one being completed, and what is offered
COMPLETIONS = [
    ("pyoci li", ["list"]),
    ("pyoci s", ["spec", "start", "state", "stats"]),
    ("pyoci list --format ", ["json", "table"]),
    ("pyoci list --format j", ["json"]),
    ("pyoci list --q", ["--quiet"]),
    ("pyoci --cgroup-manager s", ["split", "systemd"]),
    ("pyoci state w", ["web", "work"]),
    ("pyoci kill ", ["db", "web", "work"]),
    ("pyoci stats web w", ["web", "work"]),
    ("pyoci mounts ", ["add", "remove"]),
    ("pyoci mounts r", ["remove"]),
    ("pyoci mounts add w", ["web", "work"]),
    ("pyoci frobnicate x", []),
]


@pytest.mark.parametrize(("line", "offered"), COMPLETIONS, ids=[row[0] for row in COMPLETIONS])
def test_completion(
    line: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("web", "work", "db", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "a-file").touch()
    monkeypatch.setattr(settings, "default_root", lambda: str(tmp_path))
    words = line.split(" ")
    monkeypatch.setenv("_PYOCI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit) as left:
        commands.understand([])
    assert left.value.code in (0, None)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.removeprefix("plain,") for line in lines if line) == offered


@pytest.mark.parametrize(("line", "kind"), [
    ("pyoci create --bundle ", "dir"),
    ("pyoci create --config ", "file"),
    ("pyoci plan ", "dir"),
    ("pyoci mounts add web ", "file"),
])  # fmt: skip
def test_completion_of_paths(
    line: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_PYOCI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit):
        commands.understand([])
    assert capsys.readouterr().out.startswith(f"{kind},")

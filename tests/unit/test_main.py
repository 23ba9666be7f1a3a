"""The front door as it is entered: a fresh interpreter, started as the launcher starts it."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci_systemd import main

ROOT = str(Path(__file__).parents[2])
ENTRY = f"import sys; sys.path.insert(0, {ROOT!r}); from pyoci_systemd.main import launched; launched()"

# stands in for a verb: tells what it was given and what was imported until then
FAKE = f"""
import sys
sys.path.insert(0, {ROOT!r})
class Verb:
    @staticmethod
    def main(settings, options):
        loaded = sorted(sys.modules)
        import json
        print(json.dumps([loaded, vars(settings), vars(options)]))
        return 7
class Fail:
    @staticmethod
    def main(settings, options):
        FAILURE
import pyoci_systemd.container
for verb in "create start run kill state delete list plan".split():
    sys.modules["pyoci_systemd.container." + verb] = Verb
sys.modules["pyoci_systemd.container.start"] = Fail
from pyoci_systemd.main import launched
launched()
"""

BANNED = """os click jsonschema dbus_next pystemd json re enum typing dataclasses subprocess asyncio logging pathlib
struct signal socket ctypes collections traceback contextlib functools""".split()

CLIENTS = """\
--systemd-cgroup --log-format=json --log F create --bundle B --pid-file P --no-pivot --preserve-fds 1 ID
create --bundle B --pid-file P --no-new-keyring ID
--log-format=json --log F --cgroup-manager disabled create --bundle B --pid-file P --console-socket S ID
kill ID 15
kill --all ID 9
delete --force ID
--root R --log L --log-format json --systemd-cgroup create --bundle B --pid-file B/init.pid --console-socket S ID
--root R --log L --log-format json kill --all ID 9
--root R --log L --log-format json delete ID
--root R --log L --log-format json delete --force ID
--systemd-cgroup create --bundle B --pid-file P --console-socket S NAME
state NAME
--root=R --systemd-cgroup create --bundle B --pid-file P ID
--root R kill ID KILL
--root R kill -a ID 9
run ID
list --format json
plan BUNDLE""".splitlines()


def run(
    *args: str | bytes, code: str = ENTRY, env: dict[str, str] | None = None, **more: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-ISB", "-c", code, "0", "pyoci", *args]
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, env=env or {}, text=True, errors="surrogateescape", timeout=20, **{"capture_output": True, **more}
    )


def fail(failure: str, *args: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run `start ID` with a verb that does this instead."""
    return run(*args, "start", "ID", code=FAKE.replace("FAILURE", failure), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("line", CLIENTS)
def test_clients_are_understood_without_click(line: str) -> None:
    done = run(*line.split(), code=FAKE)
    assert (done.returncode, done.stderr) == (7, "")
    loaded, settings, options = json.loads(done.stdout)
    assert not {name.partition(".")[0] for name in loaded} & set(BANNED)
    assert "pyoci_systemd.cli.commands" not in loaded
    assert options.get("id", "ID") in ("ID", "NAME", "")


def test_what_a_verb_is_given() -> None:
    code = FAKE.replace("import sys\n", 'import sys\nsys.argv[1:3] = ["4711", "/usr/bin/pyoci"]\n', 1)
    args = "--root /r --log /l --log-format json --log-level warning --rootless --systemd-cgroup kill -a web HUP"
    done = run(*args.split(), code=code)
    _, settings, options = json.loads(done.stdout)
    assert settings == {
        "given_root": "/r", "log": "/l", "log_format": "json", "log_level": "warning", "rootless": "true",
        "manager": "systemd", "machine_annotation": False, "warm_pid": 4711, "argv0": "/usr/bin/pyoci",
    }  # fmt: skip
    assert options == {"all": True, "regex": False, "id": "web", "signal": "HUP"}


def test_installed_script() -> None:
    """Without the launcher sys.argv is the usual one."""
    code = FAKE.replace("import sys\n", 'import sys\nsys.argv[:3] = ["/usr/bin/pyoci"]\n', 1)
    code = code.replace("launched", "main")
    _, settings, options = json.loads(run("state", "web", code=code).stdout)
    assert (settings["argv0"], settings["warm_pid"], options) == ("/usr/bin/pyoci", 0, {"id": "web"})


@pytest.mark.parametrize("locale", [None, "C", "POSIX", "C.UTF-8", "xx_YY.nonsense"])
def test_bytes_of_words_survive(locale: str | None) -> None:
    env = {} if locale is None else {"LC_ALL": locale}
    done = run("state", b"\xc3\xa9\xff", code=FAKE, env=env)
    assert json.loads(done.stdout)[2]["id"].encode("utf-8", "surrogateescape") == b"\xc3\xa9\xff"


def test_bytes_can_be_printed() -> None:
    """In most locales Python refuses what is no UTF-8."""
    strict = "sys.stdout.reconfigure(errors='strict'); from pyoci_systemd.main"
    code = FAKE.replace("from pyoci_systemd.main", strict).replace("FAILURE", "print('\\udcff'); return 0")
    assert run("start", "ID", code=code).stdout == "\udcff\n"


@pytest.mark.parametrize("value", ["", "bash_complete"])
def test_completion_is_click_s(value: str) -> None:
    """An empty variable is an unset one."""
    env = {"_PYOCI_COMPLETE": value, "COMP_WORDS": "pyoci feat", "COMP_CWORD": "1"}
    done = run("state", "ID", code=FAKE, env=env)
    assert (done.returncode, done.stdout == "plain,features\n", done.stderr) == (0 if value else 7, bool(value), "")


OOPS = "raise __import__('pyoci_systemd.errors').errors.Error('no `x`', hint='make one', status=5)"

# what the verb does, exit status, standard error
FAILURES = [
    ("return 0", 0, ""),
    ("return 137", 137, ""),
    (OOPS, 5, "pyoci: no `x`\n"),
    ("open('/nonexistent/x')", 1, "pyoci: `/nonexistent/x`: No such file or directory\n"),
    ("raise OSError(28, 'whatever')", 1, "pyoci: input or output failed: No space left on device\n"),
    ("raise KeyboardInterrupt", 130, "pyoci: interrupted\n"),
    ("raise MemoryError", 1, "pyoci: out of memory\n"),
    ("{}['a\\nb']", 1, "pyoci: internal error: KeyError: 'a\\nb'\n"),
    ("raise ValueError('a\\nb')", 1, "pyoci: internal error: ValueError: a\\nb\n"),
    ("return main()", 1, "pyoci: internal error: RecursionError: maximum recursion depth exceeded\n"),
]


@pytest.mark.parametrize(("failure", "status", "said"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failure_is_one_line(failure: str, status: int, said: str) -> None:
    failure = failure.replace("return main()", "f = lambda: f(); f()")
    done = fail(failure)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_failure_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    done = fail(OOPS, "--log", str(path), "--log-format", "json")
    assert done.stderr == "pyoci: no `x`\n"
    assert json.loads(path.read_text())["msg"] == "no `x`"


def test_success_is_not_logged(tmp_path: Path) -> None:
    assert fail("return 0", "--log", str(tmp_path / "log"), "--log-format", "json").returncode == 0
    assert not (tmp_path / "log").exists()


def test_unknown_verb_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    done = run("--log", str(path), "--log-format", "json", "frob", "--process", "P", "ID")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "pyoci: unknown command `frob`\n")
    assert json.loads(path.read_text())["msg"] == "unknown command `frob`"


def test_debug_shows_the_traceback() -> None:
    done = fail("raise ValueError('x')", "--debug")
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.endswith("pyoci: internal error: ValueError: x\n")
    assert "Traceback" not in fail(OOPS, "--debug").stderr, "an error with a sentence of its own needs none"


def test_hint_is_for_terminals() -> None:
    ours, theirs = pty.openpty()
    try:
        fail(OOPS, capture_output=False, stdout=subprocess.PIPE, stderr=theirs)
        seen = b""
        # the kernel hands a terminal's output on when it has the time, perhaps after the writer's end
        while seen.count(b"\n") < 2 and select.select([ours], [], [], 10)[0]:
            seen += os.read(ours, 1000)
        assert seen.decode().splitlines() == ["pyoci: no `x`", "pyoci: hint: make one"]
    finally:
        os.close(ours)
        os.close(theirs)


def test_printed_before_a_failure_is_kept() -> None:
    assert fail("print('half'); raise ValueError('x')").stdout == "half\n"


@pytest.mark.parametrize("verb", [["features"], ["--version"], ["--help"], ["kill", "--help"]])
def test_full_disk(verb: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = run(*verb, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "pyoci: cannot write to standard output: No space left on device\n")


def test_full_disk_before_the_verb_is_done() -> None:
    with open("/dev/full", "w") as full:
        done = fail("print('x' * 100_000); return 0", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "pyoci: input or output failed: No space left on device\n")


def test_broken_pipe() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = run("features", capture_output=False, stdout=theirs, stderr=subprocess.PIPE)
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "pyoci: cannot write to standard output: Broken pipe\n")


def shell(redirections: str, code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-ISB", "-c", code, "0", "pyoci", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, env={})


@pytest.mark.parametrize("verb", [["features"], ["--version"], ["--help"]])
def test_closed_output(verb: list[str]) -> None:
    done = shell(">&-", ENTRY, *verb)
    assert (done.returncode, done.stderr) == (1, "pyoci: standard output is closed\n")


def test_closed_output_matters_to_who_prints_only() -> None:
    done = shell("<&- >&-", FAKE.replace("FAILURE", "return 0"), "start", "ID")
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_streams_are_plugged() -> None:
    """What we open next must not become the container's standard input."""
    look = "import posix as p; print(p.open('/', 0) > 2, p.get_inheritable(0), p.readlink('/proc/self/fd/0')); return 0"
    done = shell("<&- 2>&-", FAKE.replace("FAILURE", look), "start", "ID")
    assert done.stdout == "True True /dev/null\n"


def test_closed_error_output() -> None:
    assert shell("2>&-", FAKE.replace("FAILURE", OOPS), "start", "ID").returncode == 5


def test_without_click() -> None:
    code = f"import sys; sys.path.insert(0, {ROOT!r}); sys.modules['click'] = None\n{ENTRY}"
    done = run("kilk", code=code)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pyoci: cannot explain this command line: the Python package `click` is missing\n"
    assert run("--version", code=code).returncode == 0, "what is right needs no click"


@pytest.mark.parametrize("form", ["--version", "-v", "-V"])
def test_version(form: str) -> None:
    """go-runc reads `NAME version N` off the first line and the line `spec: V`."""
    code = ENTRY.replace("main import launched; launched()", "main import answer; answer(sys.argv[3:])")
    code += "; print('click' in sys.modules)"
    first, *lines, click = run(form, code=code, env={"XDG_RUNTIME_DIR": "/run/user/1"}).stdout.splitlines()
    name, word, number = first.split(" ")
    assert (name, word) == ("pyoci", "version")
    assert number[0].isdigit()
    assert "spec: 1.3.0" in lines
    assert lines[-1].split()[0] == "+SYSTEMD"
    assert all(": " in line for line in lines[:-1])
    assert click == "False"


def test_version_names_the_root_asked_for() -> None:
    assert "rundir: /r" in run("--root=/r", "--version").stdout.splitlines()


def test_answer_never_raises(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> int:
        raise SystemError("gone")

    monkeypatch.setattr(main, "perform", broken)
    assert main.answer(["list"]) == 1
    assert capfd.readouterr().err == "pyoci: internal error: SystemError: gone\n"


@pytest.mark.parametrize(("name", "handler"), [
    ("krun", "krun"), ("/usr/bin/crun-wasm", "wasm"), ("pyoci-krun", "krun"), ("crun-", "crun-"),
])  # fmt: skip
def test_no_handler_is_picked_by_the_name_we_are_called_by(
    name: str, handler: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """F013: a container that is to run in a virtual machine must not run without one."""
    assert main.answer(["--root", "/nowhere", "list"], 0, name) == 1
    called = name.rpartition("/")[2]
    assert capfd.readouterr() == ("", f"pyoci: called as `{called}`: there is no handler `{handler}`\n")


@pytest.mark.parametrize("name", ["pyoci", "/opt/crun-1.2/pyoci", "crun", "runc", "", "/", "my-pyoci", "pyoci2"])
def test_any_other_name_is_as_good(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.answer(["--root", "/nowhere", "list", "--quiet"], 0, name) == 0
    assert capfd.readouterr() == ("", "")

"""Variables that make a program load or run what somebody else wrote, in the environment of the caller and in process.env.

They reach neither the interpreter of the runtime nor a hook, and what the config gives its own program stays with that.

Seen red:
    the caller's variables       the launcher's scrubbing left out; for hooks, the caller's whole environment given to them
    one variable of the caller's the launcher's scrubbing left out: five of them (LD_PRELOAD, LD_AUDIT, LD_DEBUG,
                                 LD_SHOW_AUXV, LD_TRACE_LOADED_OBJECTS); the others stayed green

Never yet for its own reason: the program's variables (with process.env given to hooks, the hook did not run at all).
"""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.integration.attack_scene import lean
from tests.integration.conftest import Bundle, Run

QUICK = "--cgroup-manager=disabled"
# EVIL stands for a directory with files that leave a mark when they are run or imported
HOSTILE = {
    "LD_PRELOAD": "EVIL/evil.so", "LD_AUDIT": "EVIL/evil.so", "LD_LIBRARY_PATH": "EVIL", "LD_DEBUG": "all",
    "LD_DEBUG_OUTPUT": "EVIL/debug", "LD_PROFILE": "libc.so.6", "LD_PROFILE_OUTPUT": "EVIL", "LD_SHOW_AUXV": "1",
    "LD_TRACE_LOADED_OBJECTS": "1", "LD_BIND_NOW": "1", "LD_ORIGIN_PATH": "EVIL", "LD_HWCAP_MASK": "0",
    "GLIBC_TUNABLES": "glibc.malloc.check=3", "GCONV_PATH": "EVIL", "GETCONF_DIR": "EVIL", "LOCPATH": "EVIL", "NLSPATH": "EVIL/%N",
    "MALLOC_CHECK_": "3", "MALLOC_TRACE": "EVIL/trace", "MALLOC_ARENA_MAX": "1", "OPENSSL_CONF": "EVIL/openssl.cnf",
    "OPENSSL_MODULES": "EVIL", "OPENSSL_ENGINES": "EVIL", "PYTHONPATH": "EVIL", "PYTHONHOME": "EVIL",
    "PYTHONSTARTUP": "EVIL/sitecustomize.py", "PYTHONINSPECT": "1", "PYTHONBREAKPOINT": "evil.run",
    "PYTHONPLATLIBDIR": "EVIL", "PYTHONPYCACHEPREFIX": "EVIL", "PYTHONEXECUTABLE": "EVIL/python", "PYTHONUSERBASE": "EVIL",
    "PYTHONWARNINGS": "error::evil.Evil", "PYTHONPROFILEIMPORTTIME": "1", "PYTHONVERBOSE": "1",
}  # fmt: skip
WHAT_MAY_BE = ("posix", "json", "site", "sitecustomize", "usercustomize", "encodings", "evil", "pyoci_systemd", "click")
# of a hook: its own environment, and that of the runtime which started it
HOOK = """#!/bin/sh
cat >/dev/null
{ tr '\\0' '\\n' </proc/$$/environ; tr '\\0' '\\n' </proc/$PPID/environ; echo over; } >>"$0.seen"
"""


@pytest.fixture
def evil(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a directory of files that leave a mark there."""
    path = tmp_path / "evil"
    path.mkdir()
    for name in WHAT_MAY_BE:
        (path / f"{name}.py").write_text(f"open({str(path / 'mark')!r}, 'a').write({name!r})\n")
    (path / "evil.so").write_text("not one")  # which the linker complains of
    (path / "openssl.cnf").write_text("[broken")
    (path / "gconv-modules").write_text("module UTF-8// INTERNAL evil 1\n")
    return path


@pytest.fixture
def hook(tmp_path: pathlib.Path, bundle: Bundle) -> pathlib.Path:
    """Return a program that all hooks of the bundle are, and that writes to `.seen` beside it."""
    path = tmp_path / "hook"
    path.write_text(HOOK)
    path.chmod(0o755)
    lean(bundle)
    bundle.config["hooks"] = {kind: [{"path": str(path)}] for kind in ("createRuntime", "poststart", "poststop")}
    return path


def filled(evil: pathlib.Path) -> dict[str, str]:
    return {name: value.replace("EVIL", str(evil)) for name, value in HOSTILE.items()}


def seen(hook: pathlib.Path) -> set[str]:
    """Return the names of the variables in the hooks and the runtimes that started them."""
    lines = hook.with_suffix(".seen").read_text().splitlines()
    assert lines.count("over") == 3
    # in the runtime's: the launcher's own, no hook's (test_hooks)
    return {line.partition("=")[0] for line in lines if not line.startswith("PYTHONHOME=/usr/lib/pyoci/")}


def test_the_callers_variables(
    run: Run, bundle: Bundle, container_id: str, hook: pathlib.Path, evil: pathlib.Path
) -> None:
    bundle.sh("cat /proc/self/environ | tr '\\0' '\\n'")
    before = sorted(evil.iterdir())
    env = {**os.environ, **filled(evil)}
    done = run(QUICK, "run", "--bundle", bundle.path, container_id, env=env)
    own = {entry.partition("=")[0] for entry in bundle.config["process"]["env"]} | {"HOME", "PWD", "SHLVL"}
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.partition("=")[0] for line in done.stdout.splitlines()} <= own
    assert not seen(hook) & {*HOSTILE}
    assert sorted(evil.iterdir()) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_one_variable_of_the_callers(run: Run, evil: pathlib.Path, name: str) -> None:
    """Nothing is loaded, run, said or written on account of it, by a verb that imports a great deal."""
    plain = run("features", check=True)
    before = sorted(evil.iterdir())
    done = run("features", env={**os.environ, name: filled(evil)[name]})
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)
    assert sorted(evil.iterdir()) == before


def test_the_programs_variables(
    run: Run, bundle: Bundle, container_id: str, hook: pathlib.Path, evil: pathlib.Path
) -> None:
    env = [f"{name}={value}" for name, value in filled(evil).items()]
    bundle.config["process"]["env"] = ["PATH=/bin", *env]
    bundle.args("cat", "/proc/self/environ")
    before = sorted(evil.iterdir())
    done = run(QUICK, "run", "--bundle", bundle.path, container_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert {*env} <= {*done.stdout.split("\0")}
    assert not seen(hook) & {*HOSTILE}
    assert sorted(evil.iterdir()) == before

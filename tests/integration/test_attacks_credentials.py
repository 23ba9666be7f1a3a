"""Credentials against an image, a hook and a death that would take them elsewhere.

Seen red:
    a link of the image        the walk below the root filesystem not confined to it (no RESOLVE_IN_ROOT)
    a place that moves         the same: `credentials` was made outside at the third try
    hooks are told nothing     the file that is written not closed by the runtime
    killed while it writes     an init that goes on at the end of file of its channel, and without PR_SET_PDEATHSIG
    a file that waits          opened without O_NONBLOCK
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.attack_scene import Outside, Swapper, replace, tries, without_mount
from tests.integration.conftest import CRUN, Bundle, Container, Run
from tests.integration.test_attacks_paths import outside
from tests.integration.test_crashes import Tracer, clear, survivors, traced

__all__ = ["outside", "traced"]  # fixtures
pytestmark = pytest.mark.skipif(CRUN, reason="crun knows no credentials")

PLACE = "/run/host/credentials"
SECRET = "not-for-all"


@pytest.fixture
def key(tmp_path: pathlib.Path) -> str:
    """Return a credential as the option names it."""
    (tmp_path / "a-key").write_text(SECRET)
    return f"key:{tmp_path}/a-key"


def without_run(container: Container) -> pathlib.Path:
    """Let the image have its own /run; return that."""
    without_mount(container.bundle, "/run")
    container.config["root"]["readonly"] = False
    path = container.bundle.rootfs / "run"
    path.mkdir()
    return path


# -- elsewhere


@pytest.mark.parametrize("above", ["", "../" * 40], ids=["absolute", "many steps up"])
@pytest.mark.parametrize("name", ["run", "run/host", "run/host/credentials"])
def test_a_link_of_the_image(container: Container, key: str, outside: Outside, name: str, above: str) -> None:
    """What is meant is that name in the image, and nothing comes to stand outside."""
    without_run(container)
    place, target = container.bundle.rootfs / name, str(outside.path / "directory")
    place.parent.mkdir(exist_ok=True)
    replace(place, above + target[1:] if above else target)
    assert container.says(f"cat {PLACE}/key", "--credential", key) == SECRET
    outside.assert_untouched()


@pytest.mark.race
def test_a_place_that_moves(container: Container, key: str, outside: Outside) -> None:
    """While /run/host is a directory and then a link again, they are where they belong, or there is no container."""
    run, inside = without_run(container), 0
    (run / "host").mkdir()
    (container.bundle.rootfs / str(outside.path)[1:] / "directory").mkdir(parents=True)
    container.bundle.sh(f"cat {PLACE}/key")
    words = ["run", "--credential", key, "--bundle", str(container.bundle.path), container.name]
    with Swapper((run / "host", replace(run / "link", outside.path / "directory"))):
        for _ in tries(40):
            done = container.run(*words)
            outside.assert_untouched()
            assert f" {PLACE} " not in pathlib.Path("/proc/self/mountinfo").read_text()
            # by the time the program looks the name may lead to where nothing is mounted
            inside += done.stdout == SECRET
            assert done.stdout in (SECRET, ""), done
    assert inside > 5


# -- to others


def test_hooks_are_told_nothing(container: Container, key: str, tmp_path: pathlib.Path) -> None:
    """They run when all is written: neither the runtime nor they hold it open, and no variable leads them to it."""
    look = f"exec >>{tmp_path}/seen; ls -l /proc/$PPID/fd /proc/self/fd; env; ls {PLACE}; true"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", look]}
    container.config["hooks"] = {"prestart": [hook], "createRuntime": [hook], "poststart": [hook]}
    given = tmp_path / "given"
    given.mkdir()
    (given / "other").write_text(SECRET)
    container.bundle.sh("exec sleep 1000")
    words = ["--credential", key, "--credentials", "--bundle", str(container.bundle.path), container.name]
    container.run("create", *words, check=True, env={**os.environ, "CREDENTIALS_DIRECTORY": str(given)})
    container.run("start", container.name, check=True)
    seen = (tmp_path / "seen").read_text()
    assert seen.count("total 0") == 6
    for word in ("/key", "/other", "a-key", "CREDENTIALS_DIRECTORY", SECRET):
        assert word not in seen


# -- half


@pytest.mark.parametrize("call", range(12))
def test_killed_while_it_writes(
    traced: Tracer, run: Run, bundle: Bundle, container_id: str, key: str, wait_until: Callable[..., Any], call: int
) -> None:
    """Between the file that the init has made and the word that lets it go on: no container, and nothing of it."""
    bundle.args("sleep", "1000")
    words = ["--credential", key, "--credential", f"b-{key}", "--bundle", str(bundle.path), container_id]
    assert traced("create", *words).returncode == 0
    clear(run, container_id)
    calls = traced.calls()
    [first, _] = [number for number, one in enumerate(calls) if one.name == "write" and SECRET[:8] in one.line]
    one = calls[first - 2 + call]
    done = traced("create", *words, inject=f"{one.name}:signal=KILL:when={one.nth}")
    assert done.returncode == -signal.SIGKILL, one
    survivors(run, container_id, wait_until)
    assert run("start", container_id).returncode == 1
    clear(run, container_id)


def test_a_file_that_waits(container: Container) -> None:
    """Of the kernel's regular files some have no end: they are read as far as they go, and that is said."""
    container.bundle.write()
    began = time.monotonic()
    with subprocess.Popen(
        ["pyoci", "run", "--credential", "log:/proc/kmsg", "--bundle", container.bundle.path, container.name],
        stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            _, said = running.communicate(timeout=10)
        finally:
            running.kill()
    assert time.monotonic() - began < 5
    assert said in (
        "pyoci: credential log: `/proc/kmsg`: Resource temporarily unavailable\n",
        "pyoci: credential log: `/proc/kmsg`: with it the credentials are over 1 MiB\n",
    )

"""What the hot verbs import when they really run: the law of test_house.py, seen from outside."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest

from tests.integration.conftest import Bundle
from tests.test_house import TOO_SLOW_TO_IMPORT

LIBRARY = pathlib.Path("/usr/lib/pyoci")
INTERPRETER = pathlib.Path("/usr/bin/python3")
# what the launcher starts: the archive of this interpreter, or the front door that works without one
FRONT_DOORS = [LIBRARY / f"{INTERPRETER.resolve().name}.pyc", LIBRARY / "pyoci_systemd/__main__.py"]


def imported(front_door: pathlib.Path, *args: str | os.PathLike[str]) -> set[str]:
    """Run the front door as the launcher does and return what it imported."""
    python: list[str | os.PathLike[str]] = [INTERPRETER, "-ISB", "-Xutf8", "-Ximporttime", front_door, "0", "pyoci"]
    # a file, because a container holds a pipe open
    with open(os.memfd_create("stderr"), "w+") as err:
        subprocess.run([*python, *args], stdout=subprocess.DEVNULL, stderr=err, check=True, timeout=20)
        err.seek(0)
        return set(re.findall(r"^import time:.*\| +([\w.]+)$", err.read(), re.MULTILINE))


@pytest.mark.skipif(os.environ.get("RUNTIME") != "/usr/bin/pyoci", reason="another runtime is tested")
@pytest.mark.parametrize("front_door", FRONT_DOORS, ids=lambda path: path.name)
def test_no_hot_verb_imports_what_is_slow(
    bundle: Bundle, container_id: str, tmp_path: pathlib.Path, front_door: pathlib.Path
) -> None:
    bundle.args("sleep", "1000")
    pid_file = tmp_path / "pid"
    life: list[list[str | os.PathLike[str]]] = [
        ["create", "--bundle", bundle.path, "--pid-file", pid_file, container_id],
        ["start", container_id],
        ["state", container_id],
        ["exec", container_id, "true"],
        ["kill", container_id, "KILL"],
        ["delete", "--force", container_id],
        ["run", "--bundle", bundle.path, container_id],
    ]
    for verb in life:
        if verb[0] == "run":
            bundle.args("true")
        modules = imported(front_door, *verb)
        if front_door.suffix == ".py":
            assert "pyoci_systemd.main" in modules
            assert not [name for name in modules if "machine" in name], verb[0]  # nobody has asked for it
        else:
            # the archive makes its modules without the import system: one that it forgot takes a millisecond
            assert {name for name in modules if name.startswith("pyoci_systemd")} == set(), verb[0]
        assert modules & TOO_SLOW_TO_IMPORT == set(), verb[0]

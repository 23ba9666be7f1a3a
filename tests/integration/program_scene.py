"""What the tests of a program's surroundings share: a container with tools, and what they print."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run

OURS = pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name == "pyoci"
ours = pytest.mark.skipif(not OURS, reason="crun does it differently: see the comment")
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def with_tools(bundle: Bundle) -> Bundle:
    """Give the container the machine's programs below /usr."""
    bundle.config["mounts"].append(
        {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}
    )
    (bundle.rootfs / "usr").mkdir()
    for name in ("lib", "lib64"):
        (bundle.rootfs / name).symlink_to(f"usr/{name}")
    bundle.config["root"]["readonly"] = False
    bundle.config["process"]["capabilities"]["bounding"] += ["CAP_SYS_NICE"]
    return bundle.write()


def in_user_namespace(bundle: Bundle) -> Bundle:
    """Give the container a user namespace in which nobody outside is root."""
    for path in (bundle.path, *bundle.path.parents):
        if path.stat().st_mode & 0o11 != 0o11:
            path.chmod(0o711)
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    bundle.config["linux"] |= {"uidMappings": MAPPING, "gidMappings": MAPPING}
    return bundle.write()


def seen(run: Run, bundle: Bundle, container: str, script: str, *options: str) -> list[str]:
    """Return the lines that a script prints in the container."""
    bundle.sh(script)
    return run(*options, "run", "--bundle", bundle.path, container, check=True).stdout.splitlines()


two_cpus = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the machine has one processor")


def on_first_cpu(runtime: str, *args: str | os.PathLike[str]) -> list[str]:
    """Run the runtime where it may use one processor alone; return what the container printed."""
    first = str(min(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["taskset", "-c", first, runtime, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done
    return done.stdout.splitlines()


WHERE = "grep Cpus_allowed_list: /proc/self/status | cut -f2"


def listed(text: str) -> set[int]:
    """Return the numbers of a list such as `0-2,7`."""
    ends = [part.split("-") for part in text.split(",")]
    return {number for end in ends for number in range(int(end[0]), int(end[-1]) + 1)}


def joined(run: Run, bundle: Bundle, container: str, script: str, **more: Any) -> list[str]:
    process = {**bundle.config["process"], "args": ["sh", "-c", script], **more}
    done = run("exec", "--process", "-", container, input=json.dumps(process), check=True)
    return done.stdout.splitlines()

"""What clients really sent, in tests/goldens/clients: CLIENT-VARIANT.json, and what was taken out of it.

podman 5.4, docker 26.1, containerd 1.7 (`ctr`, and `cri`: its plugin for Kubernetes) and buildah 1.39 of Debian 13 were
given a runtime that copies what it gets and then is crun, and images of busybox. The variant says which options they had.
The files are as the clients wrote them but for two things:

- `stripped`: what is random or of the machine has a name that stays, so that a new capture can be compared;
- a seccomp section is kept once, in the directory `seccomp`, and is the name of its file here.

`-exec` in a name is a process.json and `-update` a resources.json; everything else is a config.json.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

CLIENTS = pathlib.Path(__file__).resolve().parents[1] / "goldens" / "clients"
PROCESSES = sorted(path.stem for path in CLIENTS.glob("*-exec*.json"))
RESOURCES = sorted(path.stem for path in CLIENTS.glob("*-update.json"))
CONFIGS = sorted({path.stem for path in CLIENTS.glob("*.json")} - {*PROCESSES, *RESOURCES})

# what is replaced, each different one by the next of its names
RANDOM: tuple[tuple[str, Callable[[int], str]], ...] = (
    # ids of 64 digits, and their first 12 where those stand alone: both become 12
    (r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", lambda n: f"{n:x}123456789ab"),
    # UUIDs, and those in the name of a slice
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", lambda n: f"{n:08x}-0000-0000-0000-000000000000"),
    (r"(?<=pod)[0-9]{8}(_[0-9]{4}){3}_[0-9]{12}", lambda n: f"{n:08}_0000_0000_0000_000000000000"),
    # podman's directories for overlays
    (r"(?<=/overlay/)[0-9]+(?=/)", str),
    # pids, but for the first
    (r"(?<=/proc/)(?!1/)[0-9]+(?=/)", lambda n: str(1000 + n)),
    # the controller of docker's networks
    (r'(?<=", ")[0-9a-f]{12}(?="\])', lambda n: f"{n:012x}"),
    (r"(?<=/tmp/buildah)[0-9]+", str),
)


def stripped(text: str) -> str:
    """Return the JSON `text` of a capture without what another capture would have otherwise."""
    for pattern, name in RANDOM:
        seen: dict[str, str] = {}
        for match in re.finditer(pattern, text):
            seen.setdefault(match[0], name(len(seen)))
        for random, lasting in seen.items():
            text = text.replace(random, lasting)
            if len(random) == 64:
                text = text.replace(random[:12], lasting)
    return text


def captured(name: str) -> Any:
    """Return what a client sent, whole again."""
    document = json.loads((CLIENTS / f"{name}.json").read_text())
    linux = document.get("linux", {})
    if isinstance(linux.get("seccomp"), str):
        linux["seccomp"] = json.loads((CLIENTS / "seccomp" / linux["seccomp"]).read_text())
    return document


def written(value: Any, indent: str = "", room: int = 120) -> str:
    """Return `value` as JSON in which whatever fits stands on one line."""
    line = json.dumps(value)
    if len(indent) + len(line) <= room or not isinstance(value, dict | list):
        return line
    deeper = indent + " "
    if isinstance(value, dict):
        members = [
            f"{json.dumps(key)}: {written(member, deeper, room - len(key) - 5)}" for key, member in value.items()
        ]
        return f"{{\n{deeper}" + f",\n{deeper}".join(members) + f"\n{indent}}}"
    if all(isinstance(member, str) for member in value):
        rows = [""]
        for member in value:
            word = json.dumps(member)
            if rows[-1] and len(rows[-1]) + len(word) + len(deeper) + 3 > 120:
                rows.append("")
            rows[-1] += (", " if rows[-1] else "") + word
    else:
        rows = [written(member, deeper, room) for member in value]
    return f"[\n{deeper}" + f",\n{deeper}".join(rows) + f"\n{indent}]"

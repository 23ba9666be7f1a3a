"""What the tests of `mounts` share: a container that runs, and the mounts that it gets."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import pytest

from tests.integration.exec_scene import Box, box

__all__ = ["box"]  # a fixture

TMPFS = {"destination": "/t", "type": "tmpfs", "source": "mine", "options": ["size=1m", "nosuid"]}


class Live:
    """A container that runs, and the mounts that it gets."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self._pid = 0

    @property
    def pid(self) -> int:
        """Its first process; asked for once."""
        self._pid = self._pid or self.box.pid
        return self._pid

    def __call__(self, verb: str, *mounts: Any, **how: Any) -> subprocess.CompletedProcess[str]:
        return self.box.run("mounts", verb, self.box.id, "-", input=json.dumps(mounts), **how)

    def add(self, *mounts: Any) -> None:
        done = self("add", *mounts, check=True)
        assert (done.stdout, done.stderr) == ("", "")

    def remove(self, *destinations: str) -> None:
        done = self("remove", *({"destination": path} for path in destinations), check=True)
        assert (done.stdout, done.stderr) == ("", "")

    def lines(self) -> list[str]:
        """Return the container's mountinfo, the oldest mount first."""
        return pathlib.Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()

    def numbers(self) -> set[str]:
        """Return which mounts there are, wherever they are while names change places."""
        return {line.split()[0] for line in self.lines()}

    def places(self, source: str = "mine") -> list[str]:
        """Return where the filesystems with this source are mounted."""
        return [line.split()[4] for line in self.lines() if line.split(" - ")[1].split()[1] == source]


@pytest.fixture
def live(box: Box) -> Live:
    """Return a container that can be made: `live.box.up()`."""
    return Live(box)


def bind(source: object, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": list(options)}


def named(name: str, *options: str, destination: str = "/t") -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": name, "options": list(options)}

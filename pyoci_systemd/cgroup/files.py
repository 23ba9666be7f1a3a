"""The interface files of one cgroup as they are now."""

from __future__ import annotations

import posix
from errno import EOPNOTSUPP

from ..errors import because
from ..kernelfs import read
from .events import gone


class Files:
    """A cgroup by its directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    def text(self, name: str) -> str:
        """Return what a file says, "" when the kernel, the controller or the cgroup is not there. Raises Error."""
        try:
            return read(f"{self.path}/{name}")
        except OSError as error:
            if gone(error) or error.errno == EOPNOTSUPP:  # that is what is said of pressure when PSI is off
                return ""
            raise because(f"cannot read `{self.path}/{name}`", error) from None

    def names(self) -> list[str]:
        """Return the names of the files; none of a cgroup that has gone. Raises Error."""
        try:
            return posix.listdir(self.path)
        except OSError as error:
            if gone(error):
                return []
            raise because(f"cannot read `{self.path}`", error) from None

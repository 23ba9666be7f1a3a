"""The descriptors that ops name by number: first those that are sent with the ops, then those that ops take."""

from __future__ import annotations

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ops import Op


class Mapping(Record):
    """A user namespace through which the ids of a mount are seen: a new one with these maps, or the one at `path`."""

    uid_map: str
    """what is written to uid_map, user_namespaces(7): id in the filesystem, id on the host, how many"""
    gid_map: str
    path: str = ""


class Handles:
    """Numbers for descriptors, and the ops that take them."""

    def __init__(self, sent: int, mappings: list[Mapping], joined: int = 0) -> None:
        self.mappings = mappings
        """their user namespaces are sent after the `sent` others"""
        self.sources: list[Op] = []
        """what takes the sources of mounts; performed first, and so numbered first"""
        self.devices: list[tuple[str, int, int, int]] = []
        """path, type, major and minor of what must stand on the host"""
        self._sent = sent
        self._joined = joined
        """how many namespaces are opened after the sources have been taken"""
        self._taken = sent + len(mappings)

    def take(self) -> int:
        """Return the number of what the next op takes."""
        self._taken += 1
        return self._taken - 1

    def take_inside(self) -> int:
        """Return the number of what is taken when all others have been, by the container's first process."""
        return self._taken + self._joined

    def mapping(self, wanted: Mapping) -> int:
        """Return the number of the user namespace of a mapping."""
        return self._sent + self.mappings.index(wanted)

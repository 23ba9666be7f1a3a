"""All the cgroups below one, from descriptor to descriptor.

Who may make cgroups in a container can nest them deeper than a path may be long, and than a function may call itself.
"""

from __future__ import annotations

import posix
from errno import EBUSY, ENOTEMPTY
from time import monotonic, sleep

from ..errors import because
from .events import gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STEP = 0.002  # seconds between two tries at a cgroup that is in use


class Place:
    """A descriptor of one cgroup, which goes from one to another."""

    def __init__(self, path: str) -> None:
        self.fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC)

    def go(self, name: str) -> None:
        """Go to a cgroup below, or with `..` to the one above. Raises OSError, and stays."""
        fd = posix.open(name, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=self.fd)
        posix.close(self.fd)
        self.fd = fd

    def names(self) -> list[str]:
        """Return the names of those directly below. Raises OSError."""
        return [entry.name for entry in posix.scandir(self.fd) if entry.is_dir(follow_symlinks=False)]


def walk(path: str) -> Iterator[str]:
    """Yield a path of `path` and of each cgroup below, to be used before the next is asked for. Raises OSError."""
    place = Place(path)
    ahead: list[list[str]] = []
    try:
        while True:
            yield f"/proc/self/fd/{place.fd}"
            ahead.append(_below(place))
            while not _descend(place, ahead[-1]):
                ahead.pop()
                if not ahead:
                    return
                place.go("..")
    finally:
        posix.close(place.fd)


def _below(place: Place) -> list[str]:
    """Return the names of those directly below; none below one that has just gone. Raises OSError."""
    try:
        return place.names()
    except OSError as error:
        if not gone(error):
            raise
        return []


def _descend(place: Place, names: list[str]) -> bool:
    """Go to the first of `names` that is there."""
    while names:
        try:
            place.go(names.pop())
            return True
        except OSError as error:
            if not gone(error):
                raise
    return False


def remove(path: str, deadline: float) -> None:
    """Remove an empty cgroup and all below it. Raises Error when it is still in use at the deadline."""
    above, _, name = path.rpartition("/")
    try:
        place = Place(above)
    except OSError as error:
        if gone(error):
            return
        raise because(f"cannot remove the cgroup `{path}`", error) from None
    way: list[str] = []
    ahead = [[name]]
    try:
        while ahead:
            if not ahead[-1]:
                ahead.pop()
                if way:
                    place.go("..")
                    _remove(place, way.pop(), deadline)
                continue
            name = ahead[-1].pop()
            if not _is_removed(place, name) and _descend(place, [name]):
                way.append(name)
                ahead.append(_below(place))
    except OSError as error:
        if not gone(error):
            raise because(f"cannot remove the cgroup `{path}`", error) from None
    finally:
        posix.close(place.fd)


def _is_removed(place: Place, name: str) -> bool:
    """Remove a cgroup that has none below; false for one that may have. Raises OSError."""
    try:
        posix.rmdir(name, dir_fd=place.fd)
    except OSError as error:
        if error.errno in (EBUSY, ENOTEMPTY):
            return False
        if not gone(error):
            raise
    return True


def _remove(place: Place, name: str, deadline: float) -> None:
    """Remove a cgroup when nothing is below it any more. Raises OSError when it is in use at the deadline."""
    while True:
        try:
            posix.rmdir(name, dir_fd=place.fd)
            return
        except OSError as error:
            if gone(error):
                return
            # a killed process leaves its cgroup a moment after it stops being seen
            if error.errno != EBUSY or monotonic() >= deadline:
                raise
        sleep(STEP)

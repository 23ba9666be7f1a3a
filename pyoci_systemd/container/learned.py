"""What this systemd does not know: unit properties that it has refused once are not said to it again.

A file below the state root, which is gone after a reboot, as is the systemd that it is about:

    systemd 257.9-1~deb13u1    the version that has refused them; another one is asked afresh
    MemoryZSwapMax             a property a line
    end                        or it is torn

Whoever may write it decides what systemd is not told, so it must be ours alone; and what a scope of ours cannot do
without is said in any case. A file that is torn or strange has taught us nothing.
"""

from __future__ import annotations

import posix

from .. import log
from ..errors import Error
from ..systemd import manager
from ..systemd.manager import MOST_UNKNOWN, NEEDED
from .store import LEARNED, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..systemd.bus import Bus

    Property = tuple[str, str, object]

MOST = 4096  # bytes: 32 names of 100
HEAD, END = "systemd ", "end"


def known(bus: Bus, root: str, properties: list[Property], deadline: float) -> list[Property]:
    """Return the properties without those that this very systemd has refused. Raises BusError.

    systemd is asked for its version only if one of them is in question: that is quicker than to be refused once more.
    """
    version, names = read(root)
    if not names & {name for name, _, _ in properties} or version != manager.full_version(bus, deadline=deadline):
        return properties
    left_out = sorted(names & {name for name, _, _ in properties})
    log.debug(f"this systemd does not know the properties {' '.join(f'`{name}`' for name in left_out)}")
    return [entry for entry in properties if entry[0] not in names]


def refused(root: str, version: str) -> frozenset[str]:
    """Return the properties that the systemd of this version has refused."""
    of, names = read(root)
    return names if of == version else frozenset()


def keep(bus: Bus, root: str, names: Sequence[str], deadline: float) -> None:
    """Remember what was refused. A container that stands does not fail for it: what goes wrong is for the debug log."""
    try:
        version = manager.full_version(bus, deadline=deadline)
        every = sorted({*names} | refused(root, version))[:MOST_UNKNOWN]
        text = "".join(f"{line}\n" for line in (HEAD + version, *every, END))
        write_whole(f"{root}/{LEARNED}", text.encode(), 0o600)
    except Error as error:
        log.debug(f"what systemd does not know is not kept: {error.message}")


def read(root: str) -> tuple[str, frozenset[str]]:
    """Return the version that has refused, and what; "" and nothing where there is no file that can be trusted."""
    try:
        fd = posix.open(f"{root}/{LEARNED}", posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return "", frozenset()
    try:
        found = posix.fstat(fd)
        trusted = found.st_uid == posix.geteuid() and not found.st_mode & 0o022
        data = posix.read(fd, MOST + 1) if trusted else b""
    except OSError:
        return "", frozenset()
    finally:
        posix.close(fd)
    return parsed(data)


def parsed(data: bytes) -> tuple[str, frozenset[str]]:
    """Return what a file says: all of it, or nothing."""
    nothing = "", frozenset[str]()
    if len(data) > MOST or not data.isascii():
        return nothing
    first, *names = data.decode().split("\n")
    if not first.startswith(HEAD) or names[-2:] != [END, ""]:
        return nothing
    names = names[:-2]
    if len(names) > MOST_UNKNOWN or not all(name.isalnum() and name not in NEEDED for name in names):
        return nothing
    return first.removeprefix(HEAD), frozenset(names)

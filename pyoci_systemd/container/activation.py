"""Socket activation: descriptors that a service manager opened, and that are the container's (sd_listen_fds(3)).

They are ours to pass on when LISTEN_PID says our pid. Anything else was meant for somebody above us who did not unset
it; podman, which takes the sockets itself, says by `--preserve-fds` how many they are, and the rest in process.env.
"""

from __future__ import annotations

import fcntl
import posix

from ..errors import Error, because
from ..settings import environ

FIRST = 3  # SD_LISTEN_FDS_START
MOST = 1 << 16
LONGEST_NAME = 255
UNNAMED = "unknown"  # what sd_listen_fds_with_names(3) calls a descriptor that nobody named


class Activation:
    """What was passed to us: `count` descriptors from 3 on, and their names, if they have any."""

    def __init__(self, count: int = 0, names: list[str] | None = None) -> None:
        self.count = count
        self.names = names

    def add(self, name: str) -> None:
        """Count one more, made by ourselves, which is called `name`, or "" for nothing."""
        names = self.names if self.names is not None else [UNNAMED] * self.count
        self.count += 1
        self.names = [*names, name or UNNAMED]

    def variables(self) -> list[str]:
        """Return what the container's program is told of it. It knows its pid itself, by LISTEN_PID."""
        if not self.count:
            return []
        names = [f"LISTEN_FDNAMES={':'.join(self.names)}"] if self.names is not None else []
        return [f"LISTEN_FDS={self.count}", *names]

    def own_pid(self) -> list[str]:
        """Return the variables of which the value is the program's pid."""
        return ["LISTEN_PID"] if self.count else []


def passed() -> Activation:
    """Return what was passed to us. Raises Error when that is not what the environment says."""
    if environ("LISTEN_PID") != str(posix.getpid()):
        return Activation()
    text = environ("LISTEN_FDS")
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
    if not 0 <= count <= MOST:
        raise Error(f"LISTEN_FDS: `{text}` is not a number of file descriptors")
    for fd in range(FIRST, FIRST + count):
        check(fd)
    return Activation(count, named(count) if environ("LISTEN_FDNAMES") else None)


def check(fd: int) -> None:
    """Refuse a descriptor that was not passed to us: one that is closed, or by now something of our own."""
    try:
        passed_on = not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except OSError as error:
        raise because(f"LISTEN_FDS: file descriptor {fd}", error) from None
    if not passed_on:
        raise Error(f"LISTEN_FDS: file descriptor {fd} was not passed to us")


def named(count: int) -> list[str]:
    """Return the names of the descriptors. Raises Error when there are more or fewer, or no such names."""
    names = environ("LISTEN_FDNAMES").split(":")
    if len(names) != count:
        raise Error(f"LISTEN_FDNAMES: {len(names)} names for {count} file descriptors")
    for name in names:
        check_name(name, "LISTEN_FDNAMES")
    return names


def check_name(name: str, where: str) -> None:
    """Refuse a name that systemd would (systemd.socket(5), FileDescriptorName=). `where` is who says it."""
    if not (name.isascii() and name.isprintable() or not name) or ":" in name or len(name) > LONGEST_NAME:
        raise Error(f"{where}: `{ascii(name)[1:-1]}` cannot be the name of a file descriptor")

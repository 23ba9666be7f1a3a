"""What a user without privileges may map besides the own ids: subuid(5), subgid(5), newuidmap(1), newgidmap(1)."""

from __future__ import annotations

import _signal
import posix

from .. import jsonio
from ..errors import Error
from ..plan import automatic
from ..plan.automatic import Ids
from ..settings import environ
from . import process
from .caller import owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.automatic import Ranges
    from ..spec.types import Config

DEADLINE = 20.0  # seconds for a helper, which may ask a directory service
PATH = "/usr/bin:/bin:/usr/local/bin"  # podman calls us without one
MOST = 1 << 20  # bytes that are read of either file


def with_user_namespace(config: Config, text: bytes) -> tuple[Config, bytes]:
    """Return a config with a user namespace, and its text: nothing of a user's container can be made without one."""
    if not automatic.is_needed(config):
        return config, text
    ids = Ids(posix.getuid(), posix.getgid(), ranges("/etc/subuid"), ranges("/etc/subgid"))
    config = automatic.with_user_namespace(config, ids)
    return config, jsonio.dumps(config).encode("utf-8", "surrogateescape")


def ranges(path: str) -> Ranges:
    """Return our ranges in /etc/subuid or /etc/subgid: lines `user:first:count`, where the user is a name or a uid."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return []
    try:
        text = posix.read(fd, MOST).decode("utf-8", "replace")
    finally:
        posix.close(fd)
    names = (owner(), str(posix.getuid()))
    found = [line.split(":") for line in text.split("\n")]
    return [
        (int(fields[1]), int(fields[2]))
        for fields in found
        if len(fields) == 3 and fields[0] in names and all(word.isascii() and word.isdigit() for word in fields[1:])
    ]


def write(pid: int, kind: str, text: str) -> None:
    """Have newuidmap(1) or newgidmap(1) write a map; `kind` is "uid" or "gid". Raises Error."""
    helper = f"new{kind}map"
    output = posix.memfd_create(helper, posix.MFD_CLOEXEC)
    streams = [(posix.POSIX_SPAWN_DUP2, output, 2)]
    try:
        child = posix.posix_spawn(
            find(helper), [helper, str(pid), *text.split()], posix.environ, file_actions=streams, setsigmask=()
        )
        ended = process.wait_gone(child, process.start_time(child), DEADLINE)
        if not ended:
            posix.kill(child, _signal.SIGKILL)
        _, status = posix.waitpid(child, 0)
        if not ended:
            raise Error(f"{helper} did not end within {DEADLINE:.0f} s")
        if status:
            posix.lseek(output, 0, 0)
            words = posix.read(output, 4096).decode("utf-8", "replace").strip().split("\n")[-1]
            raise refused(kind, text, words.removeprefix(f"{helper}: ") or f"exit status {status >> 8}")
    finally:
        posix.close(output)


def find(helper: str) -> str:
    """Return the path of a helper. Raises Error when it is not installed."""
    for directory in [*environ("PATH").split(":"), *PATH.split(":")]:
        path = f"{directory}/{helper}"
        if directory and posix.access(path, posix.X_OK):
            return path
    hint = "apt install uidmap, or dnf install shadow-utils"
    raise Error(
        f"`{helper}` is not installed: a user without privileges needs it to map more than the own id", hint=hint
    )


def refused(kind: str, text: str, words: str) -> Error:
    """Return the error for a map that a helper does not write."""
    shown = text.strip().replace("\n", "; ")
    error = f"new{kind}map: cannot map `{shown[:200]}`: {words}"
    if own := ranges(f"/etc/sub{kind}"):
        has = ", ".join(f"{first}-{first + count - 1}" for first, count in own)
        return Error(error, hint=f"`/etc/sub{kind}` gives `{owner()}` {has}")
    return Error(error, hint=f"`/etc/sub{kind}` has no range for `{owner()}`; {more(kind)}")


def more(kind: str) -> str:
    """Return the command that gives us ids."""
    return f"as root: usermod --add-sub{kind}s 100000-165535 {owner()}"

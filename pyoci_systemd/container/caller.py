"""Who called us, from where, and with what in hand."""

from __future__ import annotations

import posix

from .. import jsonio
from ..errors import Error, printable
from ..init.dialogue import WALL


def absolute(path: str) -> str:
    """Return a path from the root, without resolving links."""
    if path.startswith("/"):
        return path
    return posix.getcwd() if path == "." else f"{posix.getcwd()}/{path}"


def nameable(path: str) -> str:
    """Return a path that the state and systemd are to name, which they do in UTF-8. Raises Error for another."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Error(f"`{printable(path)}`: the path is not UTF-8") from None
    return path


def document(path: str) -> tuple[bytes, str]:
    """Return what is in the file `path`, `-` being standard input, and what to call it. Raises Error."""
    if path == "-":
        return jsonio.drain(0, "standard input"), "standard input"
    return jsonio.contents(path), path


def owner() -> str:
    """Return our user's name, or the number where it has none."""
    uid = posix.getuid()
    if uid == 0:
        return "root"
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def reap(pid: int) -> None:
    """Collect the launcher's helper, if there is one."""
    if pid:
        try:
            posix.waitpid(pid, WALL)
        except ChildProcessError:
            return

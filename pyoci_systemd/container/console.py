"""The terminal: handed to whoever listens on --console-socket, or relayed to our own."""

from __future__ import annotations

import posix

from ..errors import Error, because
from . import unixsocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options
    from ..spec.types import Process

PATIENCE = 10.0
TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414


def check(process: Process | None, options: Options, detached: bool) -> None:
    """Refuse a terminal without anybody at its other end, and the reverse. Raises Error."""
    terminal = process.get("terminal", False) if process else False
    if options.console_socket and not terminal:
        raise Error("--console-socket is for a container whose process.terminal is true")
    if terminal and not options.console_socket and detached:
        raise Error("process.terminal is true: `--console-socket` must say where the terminal goes")


def place(master: int, path: str) -> int:
    """Send the terminal's descriptor to `path`. Without one keep it: returns it, or -1. Raises Error."""
    if path:
        send(path, master)
        return -1
    from .relay import resize

    # before the program runs: many ask for the size once
    resize(master)
    return master


def send(path: str, master: int) -> None:
    """Send the terminal's descriptor, and its name as the text, as runc's console sockets expect it. Raises Error."""
    try:
        unixsocket.send(path, b"/dev/ptmx", master, PATIENCE)
    except OSError as error:
        raise because(f"cannot send the terminal to `{path}`", error) from None
    finally:
        posix.close(master)

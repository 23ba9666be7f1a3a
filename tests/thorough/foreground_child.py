"""Run a program on a new terminal as `run` does a container: in the foreground, relayed to our stdin and stdout."""

from __future__ import annotations

import fcntl
import os
import sys
import termios

from pyoci_systemd.container.foreground import Foreground
from pyoci_systemd.container.relay import resize


def main(arguments: list[str]) -> int:
    """Run the program; without a terminal when the first argument is `-`. Returns its exit status."""
    alone = arguments[0] == "-"
    master, terminal = (-1, -1) if alone else os.openpty()
    if not alone:
        resize(master)  # as create and exec do, before the program runs
    pid = os.fork()
    if not pid:
        os.setsid()
        if not alone:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(terminal, fd)
            os.closerange(3, 64)
        os.execvp(arguments[alone], arguments[alone:])
    if not alone:
        os.close(terminal)
    return Foreground(pid, master, reap_orphans=False).wait()


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))

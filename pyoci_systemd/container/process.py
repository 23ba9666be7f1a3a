"""A process of the host's, told from a later one that got the same pid."""

from __future__ import annotations

import _signal
import posix

from .. import kernelfs


def status(pid: int) -> tuple[str, int]:
    """Return the state letter and the start time (clock ticks since boot) of a process, ("", 0) when it is gone.

    proc_pid_stat(5). The name in brackets may hold anything, brackets and spaces too: what counts comes after the last.
    """
    try:
        fields = kernelfs.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[19])


def exit_status(pid: int, started: int) -> int | None:
    """Return how a process ended, as wait(2) tells it, while nobody has collected it yet; else None.

    proc_pid_stat(5). Who may not look into the process reads 0 there: what it takes is asked for first.
    """
    try:
        posix.readlink(f"/proc/{pid}/ns/user")
        fields = kernelfs.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None
    # a first thread that has ended is a zombie too; the process ends with its last one
    ended = fields[0] == "Z" and fields[17] == "1" and int(fields[19]) == started
    return int(fields[49]) if ended else None


INIT = "pyoci-init"


def name(pid: int) -> str:
    """Return the name of a process (proc_pid_comm(5)), "" when it is gone."""
    try:
        return kernelfs.read(f"/proc/{pid}/comm").rstrip("\n")
    except OSError:
        return ""


def start_time(pid: int) -> int:
    """Return when a process started, 0 when it is gone."""
    return status(pid)[1]


def lives(pid: int, started: int) -> bool:
    """Is this process, and no later one of that pid, still running. A zombie is not."""
    if pid <= 0:
        return False
    letter, when = status(pid)
    return letter not in ("", "Z", "X", "x") and when == started


def open_pidfd(pid: int, started: int) -> int:
    """Return a pidfd of exactly this process, -1 when it is gone. Raises OSError."""
    if pid <= 0:
        return -1
    try:
        fd = posix.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    except OSError as error:
        from errno import EINVAL  # 40 µs that a pid which is a thread's by now may cost

        if error.errno == EINVAL:
            return -1
        raise
    # asked after the pidfd was opened: from here on it cannot become another process
    if start_time(pid) == started:
        return int(fd)
    posix.close(fd)
    return -1


def send_signal(pid: int, started: int, number: int) -> bool:
    """Send a signal to exactly this process; false when it is gone. Raises OSError."""
    fd = open_pidfd(pid, started)
    if fd < 0:
        return False
    try:
        _signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        posix.close(fd)


def wait_gone(pid: int, started: int, timeout: float) -> bool:
    """Wait until this process has ended; false when `timeout` seconds pass first. Raises OSError."""
    fd = open_pidfd(pid, started)
    if fd < 0:
        return True
    try:
        return ended(fd, timeout)
    finally:
        posix.close(fd)


def ended(pidfd: int, timeout: float = 0.0) -> bool:
    """Wait until the process of a pidfd has ended; false when `timeout` seconds pass first."""
    from select import POLLIN, poll  # 40 µs that only `delete` needs

    waiting = poll()
    waiting.register(pidfd, POLLIN)
    return bool(waiting.poll(timeout * 1000))

"""Whom the kernel killed for want of memory, by its log: /dev/kmsg (Documentation/ABI/testing/dev-kmsg).

The log outlives the process, its cgroup and its scope, until newer messages take its place. It may be closed to us, and
of many kills at a time not all are told: what it does not say is not known.
"""

from __future__ import annotations

import posix
from errno import EPIPE

KMSG = "/dev/kmsg"
KILLED = ": Killed process "
OF_A_CGROUP = "Memory cgroup out of memory"
MOST = 200_000  # records: a log of 16 MiB
SLACK = 120.0  # seconds: the log's clock is not quite that of the processes, and stands still with the machine

_victims: list[tuple[int, float, str]] | None = None


def killed(pid: int, started: int) -> str:
    """Return how the kernel says that it killed a process for want of memory, OF_A_CGROUP or of all; "" if it does not.

    `started` is when that process did, in clock ticks. A pid that was another's long before does not count.
    """
    earliest = started / posix.sysconf("SC_CLK_TCK") - SLACK
    found = [why for number, seconds, why in victims() if number == pid and seconds >= earliest]
    return found[-1] if found else ""


def victims() -> list[tuple[int, float, str]]:
    """Return what the log tells. It is read once: a command asks when all is over, and `list` for many containers."""
    global _victims
    if _victims is None:
        _victims = [victim(record) for record in records()]
    return _victims


def records() -> list[str]:
    """Return the records that may tell of a kill."""
    found: list[str] = []
    try:
        fd = posix.open(KMSG, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return found
    try:
        for _ in range(MOST):
            try:
                record = posix.read(fd, 8192)
            except OSError as error:
                if error.errno == EPIPE:  # the next one was overwritten before we came to it
                    continue
                break
            if KILLED.encode() in record:
                found.append(record.decode("utf-8", "replace"))
    finally:
        posix.close(fd)
    return found


def victim(record: str) -> tuple[int, float, str]:
    """Return the pid of who was killed, when, in seconds since the boot, and how it says so. Pure.

    (0, 0, "") for another message. Nothing after the pid is looked at: a name follows, which the process chose itself.
    """
    head, _, message = record.partition(";")
    why, _, rest = message.partition(KILLED)
    digits = rest.partition(" ")[0]
    fields = head.split(",")
    # facility 0 is the kernel's: what others write to its log has their own
    if len(fields) < 3 or ":" in why or not digits.isdigit() or int(fields[0]) >> 3:
        return 0, 0.0, ""
    return int(digits), int(fields[2]) / 1e6, why

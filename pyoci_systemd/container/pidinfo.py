"""How a process ended, asked of a pidfd that was opened while it lived: PIDFD_GET_INFO of Linux 6.15."""

from __future__ import annotations

from _struct import pack, unpack_from
from fcntl import ioctl

SIZE = 64  # of the first struct pidfd_info, which ends with exit_code; later kernels take it as well
GET_INFO = 0xC000FF0B | SIZE << 16  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)
EXIT = 1 << 3  # PIDFD_INFO_EXIT


def exit_status(pidfd: int) -> int | None:
    """Return it as wait(2) tells it, when the process has been collected; None when it has not, or nobody knows."""
    request = bytearray(SIZE)
    request[:8] = pack("=Q", EXIT)
    try:
        ioctl(pidfd, GET_INFO, request)
    except OSError:
        return None  # an older kernel
    (mask,) = unpack_from("=Q", request)
    return int(unpack_from("=i", request, SIZE - 4)[0]) if mask & EXIT else None

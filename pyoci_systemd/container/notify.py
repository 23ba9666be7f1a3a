"""sd_notify(3) between a container and the service manager: the container has a socket of its own, and we are its ear.

    ROOT/ID/notify/              bound to /run/notify, read-only: nobody inside can put anything there
    ROOT/ID/notify/notify.sock   where the container's programs say READY=1, as long as somebody of ours listens:
                                 `run` until the end, `start` and `run --detach` until they have heard it

What is passed on is in systemd/notify.py; from whom, is looked at here. The manager takes our word for it, so a message
counts only when the kernel says that it comes from the container's cgroup (unix(7), SCM_CREDENTIALS).
"""

from __future__ import annotations

import _signal
import posix
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_TRUNC,
    SCM_RIGHTS,
    SO_PASSCRED,
    SOCK_DGRAM,
    SOL_SOCKET,
)
from _struct import unpack
from errno import EADDRINUSE
from select import POLLIN, POLLOUT, poll
from time import monotonic

from .. import log
from ..cgroup import tree
from ..errors import Error, because, reason
from ..record import Record
from ..systemd import notify
from . import process, unixsocket
from .signals import FATAL
from .store import remove_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Collection

    from .store import Known

DIRECTORY, NAME, INSIDE = "notify", "notify.sock", "/run/notify"

SCM_CREDENTIALS, SCM_PIDFD, SO_PASSPIDFD = 2, 4, 76
MOST_FDS = 253  # unix(7), SCM_MAX_FD
BURST, WINDOW = 200, 1.0  # messages that are taken in so many seconds; who sends more waits
HEARD = 30.0  # seconds for the manager to have read what we told it
LINGER = 0.2  # seconds in which who said that it is ready may ask whether that has been heard (systemd-notify(1) does)


class Message(Record):
    """One message of somebody's."""

    lines: list[bytes]
    fds: list[int]

    def close(self) -> None:
        """Let go of its descriptors: whoever waits for a barrier sees it fall."""
        for fd in self.fds:
            posix.close(fd)
        self.fds = []


class Proxy:
    """Where one container's programs speak to our service manager.

    `address` is our NOTIFY_SOCKET, and `known` the container whose processes count. `storing`: does the service keep
    descriptors for it. `offset` is how many µs its monotonic clock is ahead. Raises Error.
    """

    def __init__(self, state_dir: str, address: str, known: Known, storing: bool = False, offset: int = 0) -> None:
        self.ready = False
        self.main_pid = 0
        """told with READY=1 as the service's main process, where we do not stay to be that"""
        self._path = f"{state_dir}/{DIRECTORY}/{NAME}"
        self._manager = notify.Manager(address)
        self._storing = storing
        self._offset = offset
        self._known = known
        self._held: Message | None = None
        self._count, self._since = 0, 0.0
        self._asked = False
        """has somebody asked, after READY=1, whether that has been heard"""
        self._deaf = False
        self._space = CMSG_SPACE(12) + CMSG_SPACE(4) + CMSG_SPACE(4 * (MOST_FDS if storing else 1))
        try:
            self._end = listen(self._path)
        except OSError as error:
            raise because(f"cannot make `{self._path}`", error) from None

    # -- one turn of a loop

    def register(self, watched: poll) -> int | None:
        """Say what we wait for; return for how many milliseconds at most, None for ever.

        Where the manager takes no more, or a container says too much, nothing is read: its programs wait, not we.
        """
        if self._held:
            watched.register(self._manager.fileno(), POLLOUT)
        elif self._count < BURST:
            watched.register(self._end, POLLIN)
        else:
            return max(int((self._since + WINDOW - monotonic()) * 1000), 0) + 1
        return None

    def handle(self, ready: Collection[int] = ()) -> None:
        """Pass on what there is."""
        if monotonic() >= self._since + WINDOW:
            self._count, self._since = 0, monotonic()
        while self._passed_on(self._held) and self._count < BURST:
            try:
                self._held = self._receive()
            except BlockingIOError:
                return
            self._count += 1

    def _passed_on(self, message: Message | None) -> bool:
        """Pass a message on; false when it has to wait."""
        if message:
            if message.lines and not self._tell(message):
                return False
            message.close()
            if notify.READY in message.lines:
                self.ready, self._asked = True, False
            self._asked = self._asked or notify.BARRIER in message.lines
        self._held = None
        return True

    def _tell(self, message: Message) -> bool:
        """Tell the manager; false when it cannot take it now."""
        lines = [notify.shifted(line, self._offset) for line in message.lines]
        if notify.READY in lines and self.main_pid:
            lines.append(b"MAINPID=%d" % self.main_pid)
        try:
            if not self._manager.tell(lines, message.fds):
                return False
        except OSError as error:
            if not self._deaf:
                log.warning(f"cannot reach the service manager at NOTIFY_SOCKET: {reason(error)}")
            self._deaf = True
        return True

    def _receive(self) -> Message:
        """Return the next message, without lines when it is not to be passed on. Raises BlockingIOError for none."""
        data, control, flags, _ = self._end.recvmsg(notify.LONGEST, self._space, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
        pid, pidfd, message = 0, -1, Message([], [])
        for level, kind, value in control:
            if (level, kind) == (SOL_SOCKET, SCM_CREDENTIALS):
                pid = unpack("=iII", value)[0]
            elif (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                message.fds = list(unpack(f"={len(value) // 4}i", value))
            elif (level, kind) == (SOL_SOCKET, SCM_PIDFD):
                pidfd = unpack("=i", value)[0]
        try:
            if flags & (MSG_TRUNC | MSG_CTRUNC):
                log.debug(f"notification of process {pid} ignored: it is too long, or has too many descriptors")
            elif not is_inside(pid, pidfd, self._known):
                log.debug(f"notification of process {pid} ignored: it is not in the container")
            else:
                message.lines = notify.passed_on(data, self._storing)
        finally:
            if pidfd >= 0:
                posix.close(pidfd)
        keeps = notify.STORE in message.lines or (notify.BARRIER in message.lines and len(message.fds) == 1)
        if not keeps:
            message.close()
            message.lines = [line for line in message.lines if line != notify.BARRIER]
        return message

    # -- for those who do not stay

    def until_ready(self, caught: int = -1) -> None:
        """Pass on what the container says until it is ready, and the manager knows. Raises Error when it ends before.

        Nobody but the manager can know how long that may take (TimeoutStartSec=, EXTEND_TIMEOUT_USEC=): it ends us when
        it has waited enough. `caught` can be read when a signal has come for us.
        """
        known = self._known
        self.main_pid = known.pid
        alive = process.open_pidfd(known.pid, known.start_time)
        try:
            while not self.ready:
                watched = poll()
                for fd in (alive, caught):
                    if fd >= 0:
                        watched.register(fd, POLLIN)
                ready = [fd for fd, _ in watched.poll(self.register(watched))] if alive >= 0 else [alive]
                self.handle()
                if caught in ready and caught >= 0:
                    interrupted(posix.read(caught, 512))
                if alive in ready and not self.ready:
                    raise Error(f"container `{known.id}` ended before it was ready")
        finally:
            if alive >= 0:
                posix.close(alive)
        self._until_heard()

    def _until_heard(self) -> None:
        """Wait until the manager has read all: by our pid it knows for whom we speak, so we have to be there then."""
        reading, writing = posix.pipe2(posix.O_CLOEXEC)
        barrier, told, heard, begun = Message([notify.BARRIER], [writing]), False, False, monotonic()
        try:
            while not (heard and self._asked) and monotonic() < begun + (LINGER if heard else HEARD):
                watched = poll()
                if not told and not self._held:
                    told = self._tell(barrier)
                    if told:
                        barrier.close()
                    else:
                        watched.register(self._manager.fileno(), POLLOUT)
                patience = self.register(watched)
                if not heard:
                    watched.register(reading, 0)
                # a negative one would be for ever (poll(2))
                left = max(begun + (LINGER if heard else HEARD) - monotonic(), 0) * 1000
                heard = any(fd == reading for fd, _ in watched.poll(min(left, patience or left))) or heard
                self.handle()
        finally:
            barrier.close()
            posix.close(reading)
        if not heard:
            log.warning(f"the service manager has not read in {HEARD:.0f} s that the container is ready")

    def close(self) -> None:
        """Stop listening: who speaks from now on is told that nobody hears it."""
        remove_file(self._path)
        self._end.close()
        self._manager.close()
        if self._held:
            self._held.close()


def listen(path: str) -> socket:
    """Return a socket that takes notifications at `path`, with the kernel's word about each sender. Raises OSError."""
    mask = posix.umask(0o111)
    try:
        end = unixsocket.receiver(path)
    except OSError as error:
        if error.errno != EADDRINUSE or not is_dead(path):
            raise
        remove_file(path)
        end = unixsocket.receiver(path)
    finally:
        posix.umask(mask)
    end.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
    try:
        end.setsockopt(SOL_SOCKET, SO_PASSPIDFD, 1)
    except OSError:
        log.debug("before Linux 6.5 the sender of a notification is known by its pid alone")
    return end


def is_dead(path: str) -> bool:
    """Has whoever took notifications at `path` gone: a `start` that was killed."""
    try:
        unixsocket.connect(path, 1, SOCK_DGRAM).close()
    except ConnectionRefusedError:
        return True
    return False


def is_inside(pid: int, pidfd: int, known: Known) -> bool:
    """Is a process in the cgroup of a container. One that is gone is nowhere.

    Where there are no cgroups it has to be in the mount namespace of the container's first process.
    """
    try:
        if known.cgroup:
            inside = f"{tree.of_process(pid)}/".startswith(f"{known.cgroup}/")
        else:
            inside = posix.stat(f"/proc/{pid}/ns/mnt").st_ino == posix.stat(f"/proc/{known.pid}/ns/mnt").st_ino
        if pidfd >= 0:
            # asked last: it was there until now, so nobody else had its pid; a zombie is there
            _signal.pidfd_send_signal(pidfd, 0)
    except (Error, OSError):
        return False
    return inside


def interrupted(numbers: bytes) -> None:
    """Raise Error when one of these signals is to end us."""
    for number in numbers:
        if number in FATAL:
            raise Error(f"interrupted by signal {number}", status=128 + number)

"""The runtime's side of the dialogue with the init. init.c draws it."""

from __future__ import annotations

import fcntl
import posix
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
    socketpair,
)
from _struct import pack, unpack
from errno import EINVAL, EPIPE

from ..errors import Error
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PID, GATE, ERROR, CONSOLE, COPY_UP = 1, 2, 3, 4, 5
SIZE = 24
PATIENCE = 60.0  # seconds for the longest single step: a mount of a slow device

MFD_ALLOW_SEALING, MFD_EXEC = 2, 0x10
SEALS = 0x01 | 0x02 | 0x04 | 0x08  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE
WALL = 0x40000000  # __WALL: also a child that was cloned without SIGCHLD


class Reply(Record):
    """One message of the init. `fd` and `other` are the descriptors that came with it, -1 for none."""

    kind: int
    index: int
    error: int
    value: int
    fd: int = -1
    other: int = -1


class Died(Error):
    """The init ended without a word: something killed it."""

    def __init__(self) -> None:
        super().__init__("the container's init died")


PROGRAM = __file__.rpartition("/")[0] + "/pyoci-init"


def sealed(path: str) -> int:
    """Return a descriptor of an anonymous copy of an executable that nobody can write to any more. Raises OSError.

    A container that reaches it as /proc/self/exe has hold of nothing of the host's (CVE-2019-5736).
    """
    flags = posix.MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        fd = posix.memfd_create("pyoci-init", flags | MFD_EXEC)
    except OSError as error:
        if error.errno != EINVAL:  # before Linux 6.3 every memfd is executable
            raise
        fd = posix.memfd_create("pyoci-init", flags)
    source = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        posix.sendfile(fd, source, 0, 1 << 20)
    finally:
        posix.close(source)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return int(fd)


class Init:
    """A running init, as the runtime sees it."""

    def __init__(self, channel: socket, first: int) -> None:
        self.channel = channel
        self.first = first
        """the process that makes the namespaces; it ends when the container's first process is there"""
        self.pid = 0
        """the container's first process, a child of ours"""
        self._early: list[Reply] = []

    @classmethod
    def spawn(
        cls, message: bytes, preserve_fds: int, given: Sequence[int] = (), stdio: tuple[int, int, int] = (0, 1, 2)
    ) -> Init:
        """Start an init and hand it its ops, and descriptors that ops know by number. Raises OSError."""
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        executable = sealed(PROGRAM)
        try:
            posix.set_inheritable(theirs.fileno(), True)
            argv = ["pyoci-init", str(theirs.fileno()), str(preserve_fds)]
            moved = [(posix.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio) if fd != number]
            first = posix.posix_spawn(f"/proc/self/fd/{executable}", argv, {}, file_actions=moved)
        finally:
            theirs.close()
            posix.close(executable)
        init = cls(ours, first)
        ours.settimeout(PATIENCE)
        rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"={len(given)}i", *given))] if given else []
        try:
            ours.sendmsg([message[:8]], rights)
            ours.sendall(message[8:])
        except OSError as error:
            if error.errno != EPIPE:  # it died: its last words are still to be read
                raise
        return init

    def receive(self) -> Reply | None:
        """Return the next message, None at the end of file. Raises TimeoutError."""
        if self._early and self.pid:
            return self._early.pop(0)
        data, control, _, _ = self.channel.recvmsg(SIZE, CMSG_SPACE(8), MSG_CMSG_CLOEXEC)
        while data and len(data) < SIZE:
            more = self.channel.recv(SIZE - len(data))
            if not more:
                break
            data += more
        if len(data) < SIZE:
            return None
        kind, index, error, value = unpack("=IIixxxxq", data)
        rights = control[0][2] if control else b""
        return Reply(kind, index, error, value, *unpack(f"={len(rights) // 4}i", rights))

    def expect(self, kind: int, failure: Callable[[Reply], Error], value: int | None = None) -> Reply:
        """Return the next message, which must be of this kind (and value).

        Raises what `failure` makes of an ERROR, and Error when the init has died or says something else.
        """
        try:
            reply = self.receive()
        except TimeoutError:
            raise Error(f"the container's init did not answer within {PATIENCE:.0f} s") from None
        except ConnectionError:
            reply = None
        if reply is None:
            raise Died
        if reply.kind == ERROR:
            raise failure(reply)
        if kind == PID and reply.kind != PID:
            # on a busy machine the container's first process is at its gate before the one that made it says so
            self._early.append(reply)
            return self.expect(kind, failure, value)
        if reply.kind == COPY_UP:
            self._copy_up(reply, failure)
            return self.expect(kind, failure, value)
        if reply.kind != kind or value not in (None, reply.value):
            raise Error(f"the container's init said {reply.kind}/{reply.value} instead of {kind}/{value}")
        return reply

    def _copy_up(self, reply: Reply, failure: Callable[[Reply], Error]) -> None:
        """Do what the init asks for: copy one directory into another. Raises what `failure` makes of an OSError."""
        from .copyup import OWNER, copy_up  # for the few who use `tmpcopyup`

        try:
            copy_up(reply.fd, reply.other, bool(reply.value & OWNER))
        except OSError as error:
            raise failure(Reply(ERROR, reply.index, error.errno or 0, 0)) from None
        finally:
            posix.close(reply.fd)
            posix.close(reply.other)
        self.let_through()

    def last_words(self) -> Reply | None:
        """Return why the init died, None when it lives or did not say."""
        self.channel.settimeout(1.0)
        try:
            reply = self.receive()
        except OSError:
            return None
        return reply if reply and reply.kind == ERROR else None

    def let_through(self) -> None:
        """Open the gate at which the init waits. That it has died meanwhile is found out at the next message."""
        try:
            self.channel.send(b"g")
        except ConnectionError:
            return

    def reap_first(self) -> None:
        """Collect the process that made the namespaces; it has nothing left to do when it has told the pid."""
        if self.first:
            posix.waitpid(self.first, WALL)
            self.first = 0

    def abandon(self) -> None:
        """Kill what runs of the init and collect it. Its pids cannot have been reused: they are our own children."""
        self.channel.close()
        for pid in (self.first, self.pid):
            if pid:
                try:
                    posix.kill(pid, 9)
                    posix.waitpid(pid, WALL)
                except (ProcessLookupError, ChildProcessError):
                    continue
        self.first = self.pid = 0

"""`tmpcopyup`: what a directory has, copied into the filesystem that is about to cover it.

Whoever else has the image mounted may change it meanwhile: so a name is looked up below an open directory, never
through a link, and what was opened must be what was seen. The copy is attached nowhere yet: nobody else can reach it.
"""

from __future__ import annotations

import posix
from errno import ENODATA, ENOTSUP, EPERM, ESTALE

from .. import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    Links = dict[tuple[int, int], str]

TYPE, DIRECTORY, REGULAR, LINK = 0o170000, 0o040000, 0o100000, 0o120000
CHUNK = 1 << 30
OWNER = 16  # with the flags of the mount: the owner, too
# O_NONBLOCK: a file that has just become a fifo must not stop us
OPEN = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
CREATE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC


def copy_up(covered: int, tree: int, owner: bool) -> None:
    """Copy what is in the directory `covered` to the root of the mount `tree`, and with `owner` whose it is.

    Both are descriptors, possibly O_PATH. Raises OSError.
    """
    source = posix.open(".", OPEN | posix.O_DIRECTORY, dir_fd=covered)
    target = posix.open(".", OPEN | posix.O_DIRECTORY, dir_fd=tree)
    mine = posix.geteuid(), posix.getegid()
    found = posix.fstat(target)
    theirs = found.st_uid, found.st_gid
    try:
        if theirs != mine:
            _become(*theirs)
        try:
            if owner:
                seen = posix.fstat(source)
                posix.chown(target, seen.st_uid, seen.st_gid)
            Copy(target).directory(source, target, "")
        finally:
            if theirs != mine:
                _become(*mine)
    finally:
        posix.close(source)
        posix.close(target)


def _become(uid: int, gid: int) -> None:
    """Change our effective ids and keep all capabilities. Raises OSError.

    In a filesystem of a user namespace nothing can be made by someone who has no id there, such as the host's root.
    """
    import ctypes  # 6 ms, for user namespaces only

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(28, 4, 0, 0, 0):  # PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP
        raise OSError(ctypes.get_errno(), "prctl")
    posix.setegid(gid)
    posix.seteuid(uid)


class Copy:
    """One copy on its way."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.first: Links = {}
        """of files that have more names than one: what they are in the image, and where the copy is"""

    def directory(self, source: int, target: int, path: str) -> None:
        """Copy what is in one directory to another, the one at `path` below the root. Raises OSError."""
        with posix.scandir(source) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            try:
                self.entry(source, target, name, f"{path}{name}")
            except OSError as error:
                log.debug(f"copying `{path}{name}`: {error.strerror}")
                raise
        _attributes(source, target)

    def entry(self, source: int, target: int, name: str, path: str) -> None:
        """Copy what has this name in `source` to `target`. Raises OSError."""
        found = posix.stat(name, dir_fd=source, follow_symlinks=False)
        kind = found.st_mode & TYPE
        if kind != DIRECTORY and found.st_nlink > 1:
            first = self.first.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                posix.link(first, name, src_dir_fd=self.root, dst_dir_fd=target, follow_symlinks=False)
                return
        if kind in (DIRECTORY, REGULAR):
            self._with_contents(source, target, name, path, found)
        elif kind == LINK:
            posix.symlink(posix.readlink(name, dir_fd=source), name, dir_fd=target)
            posix.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        else:
            posix.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
            posix.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
            posix.chmod(name, found.st_mode & 0o7777, dir_fd=target)
        posix.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)

    def _with_contents(self, source: int, target: int, name: str, path: str, found: posix.stat_result) -> None:
        directory = found.st_mode & TYPE == DIRECTORY
        opened = posix.open(name, OPEN, dir_fd=source)
        made = -1
        try:
            now = posix.fstat(opened)
            if (now.st_dev, now.st_ino, now.st_mode & TYPE) != (found.st_dev, found.st_ino, found.st_mode & TYPE):
                raise OSError(ESTALE, posix.strerror(ESTALE))  # something else was put there in between
            if directory:
                posix.mkdir(name, 0o700, dir_fd=target)
                made = posix.open(name, OPEN | posix.O_DIRECTORY, dir_fd=target)
            else:
                made = posix.open(name, CREATE, 0o600, dir_fd=target)
                while posix.sendfile(made, opened, None, CHUNK):
                    pass
            # the owner first: changing it takes set-user-ID and the file's capabilities away
            posix.chown(made, found.st_uid, found.st_gid)
            posix.chmod(made, found.st_mode & 0o7777)
            if directory:
                self.directory(opened, made, f"{path}/")
            else:
                _attributes(opened, made)
        finally:
            posix.close(opened)
            if made >= 0:
                posix.close(made)


def _attributes(source: int, target: int) -> None:
    """Copy extended attributes, but for what the filesystem does not know or a user namespace may not set."""
    for name in posix.listxattr(source):
        try:
            posix.setxattr(target, name, posix.getxattr(source, name))
        except OSError as error:
            if error.errno not in (ENOTSUP, EPERM, ENODATA):
                raise

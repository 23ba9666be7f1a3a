"""Seccomp programs: compiled by libseccomp once for each profile, and kept by its checksum.

A kept program is used if it is whole, for this profile, made by the libseccomp that is installed now, and ours:

    checksum of all that follows, under the profile's own checksum as the key
    what libseccomp it was made by: path and time of last change, one line
    the program
"""

from __future__ import annotations

import posix

from .. import jsonio
from ..plan import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.seccomp import Filter
    from ..spec.types import Config

CACHE = ".seccomp"
DIGEST = 32  # bytes


def program(config: Config, root: str) -> tuple[bytes, int]:
    """Return the compiled filter of a config and its flags, (b"", 0) when it asks for none. Raises Error."""
    section = config.get("linux", {}).get("seccomp")
    if brought := seccomp.given(config):
        return brought, seccomp.SPEC_ALLOW
    if not section:
        return b"", 0
    from _blake2 import blake2b  # 0.1 ms, for who has a filter

    whole = seccomp.strict(config)
    key = blake2b(jsonio.dumps([section, whole]).encode(), digest_size=DIGEST)
    path = f"{root}/{CACHE}/{key.hexdigest()}"
    made = kept(path, key.digest())
    if not made:
        made = compiled(seccomp.make_filter(section, whole), path, key.digest())
    return made, seccomp.flags(section)


def kept(path: str, key: bytes) -> bytes:
    """Return the program that is kept at `path`, b"" when there is none that can be trusted."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = posix.fstat(fd)
        # whoever may write to it decides what a container may do
        if found.st_uid != posix.geteuid() or found.st_mode & 0o022:
            return b""
        data = posix.read(fd, 1 << 20)
    except OSError:
        return b""
    finally:
        posix.close(fd)
    body = data[DIGEST:]
    if data[:DIGEST] != digest(body, key):
        return b""
    maker, _, made = body.partition(b"\n")
    return made if maker and maker == stamp(maker.rpartition(b" ")[0]) else b""


def compiled(wanted: Filter, path: str, key: bytes) -> bytes:
    """Return the program of a filter, made anew and kept at `path`. Raises Error."""
    from . import compiler  # 8 ms, the first time a profile is seen

    made = compiler.compile_filter(wanted)
    body = stamp(compiler.library_path()) + b"\n" + made
    compiler.keep(path, digest(body, key) + body)
    return made


def stamp(library: bytes) -> bytes:
    """Return which state of the library at `library` this is; b"" when there is none."""
    try:
        return b"%s %d" % (library, posix.stat(library).st_mtime_ns)
    except (OSError, ValueError):
        return b""


def digest(data: bytes, key: bytes) -> bytes:
    """Return a checksum of `data` that is good for one key only."""
    from _blake2 import blake2b

    return blake2b(data, key=key, digest_size=DIGEST).digest()

"""Seccomp programs: compiled by libseccomp once for each profile, and kept by its checksum."""

from __future__ import annotations

from _blake2 import blake2b

from .. import jsonio
from ..errors import Error
from ..plan import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config

CACHE = ".seccomp"


def program(config: Config, root: str) -> tuple[bytes, int]:
    """Return the compiled filter of a config and its flags, (b"", 0) when it asks for none. Raises Error."""
    section = config.get("linux", {}).get("seccomp")
    if not section:
        return b"", 0
    wanted = seccomp.make_filter(section)
    key = blake2b(jsonio.dumps(section).encode("utf-8", "surrogateescape"), digest_size=32).hexdigest()
    path = f"{root}/{CACHE}/{key}"
    try:
        return jsonio.contents(path), wanted.flags
    except Error:
        from . import compiler
    return compiler.compile_and_keep(wanted, path), wanted.flags

"""`pyoci spec`: write a config.json to begin with."""

from __future__ import annotations

import posix

from .. import jsonio
from ..errors import Error, because
from ..spec.defaults import default_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Write the default config into the bundle, or to the file named, which is written over.

    A file is relative to the bundle, as crun has it. Raises Error.
    """
    path = options.file or "config.json"
    if options.bundle and not path.startswith("/"):
        path = f"{options.bundle}/{path}"
    text = jsonio.dumps(default_config(options.rootless, posix.geteuid(), posix.getegid()), indent=2) + "\n"
    write(path, text.encode(), new=not options.file)
    return 0


def write(path: str, data: bytes, *, new: bool) -> None:
    """Write a file whole. With `new` it must not exist, and a failed write leaves none. Raises Error."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC | (posix.O_EXCL if new else posix.O_TRUNC)
    try:
        fd = posix.open(path, flags, 0o666)
    except FileExistsError:
        raise Error(f"`{path}` exists", hint="`--file PATH` writes over what is there") from None
    except OSError as error:
        raise because(f"cannot write `{path}`", error) from error
    try:
        while data:
            data = data[posix.write(fd, data) :]
    except OSError as error:
        if new:
            posix.unlink(path)
        raise because(f"cannot write `{path}`", error) from error
    finally:
        posix.close(fd)

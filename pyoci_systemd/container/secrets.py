"""The credentials that a container is to have: what is in them is read here, and written where nobody else reads.

It is never in an op, a config or a log line: of these all may be printed or kept.
"""

from __future__ import annotations

import posix

from ..errors import Error, because, printable
from ..init.dialogue import GATE
from ..jsonio import dumps
from ..plan import secrets
from ..plan.words import CREDENTIAL_GATE
from ..settings import environ
from .store import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..init.dialogue import Init, Reply
    from ..settings import Options
    from ..spec.types import Config

KIND, REGULAR = 0o170000, 0o100000
KINDS = {0o040000: "a directory", 0o010000: "a fifo", 0o020000: "a device", 0o060000: "a device"}
SOCKET = 0o140000


class Secrets:
    """Credentials by their names. Made before the first side effect; `deliver` takes what is in them away."""

    def __init__(self, options: Options) -> None:
        self._contents: dict[str, bytearray] = {}
        for text in options.credential:
            self._read(*secrets.parse(text))
        for name, path in handed_to_us() if options.credentials else ():
            self._read(secrets.check_name(name), path)

    def _read(self, name: str, path: str) -> None:
        if name in self._contents:
            raise Error(f"credential {name}: given twice")
        room = secrets.LARGEST - sum(map(len, self._contents.values()))
        self._contents[name] = contents(path, f"credential {name}: `{printable(path)}`", room)

    def sizes(self) -> dict[str, int]:
        """Return how many bytes each has."""
        return {name: len(content) for name, content in self._contents.items()}

    def deliver(self, init: Init, failure: Callable[[Reply], Error]) -> None:
        """Write each into the file that the init has made for it. Raises Error.

        They are wiped with that: who waits for the container's end has no use for them, and may be swapped out.
        """
        for name in list(self._contents):
            file, content = init.expect(GATE, failure, CREDENTIAL_GATE).fd, self._contents.pop(name)
            try:
                write_all(file, content)
            except OSError as error:
                raise because(f"credential {name}: cannot be written", error) from None
            finally:
                posix.close(file)
                content[:] = bytes(len(content))
            init.let_through()


def announced(config: Config) -> tuple[Config, bytes]:
    """Return the config that says where they are, and its text: what is run in the container later reads them too."""
    config = secrets.announced(config)
    return config, dumps(config).encode()


def handed_to_us() -> list[tuple[str, str]]:
    """Return names and paths of the credentials of the service that we are. Raises Error."""
    directory = environ(secrets.VARIABLE)
    if not directory:
        raise Error(f"--credentials: {secrets.VARIABLE} is not set", hint="it is for a service with `LoadCredential=`")
    try:
        return [(name, f"{directory}/{name}") for name in sorted(posix.listdir(directory))]
    except OSError as error:
        raise because(f"--credentials: `{printable(directory)}`", error) from None


def contents(path: str, what: str, room: int) -> bytearray:
    """Return what is in a regular file, at most `room` bytes. Raises Error, which calls it `what`.

    It is looked at before it is opened to be read: that can wait (a fifo) or do something (a tape, a watchdog). Some of
    the kernel's regular files wait for more (/proc/kmsg): they are not waited for.
    """
    try:
        found = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
        try:
            kind = posix.fstat(found).st_mode & KIND
            if kind == SOCKET:
                raise Error(f"{what}: a socket", hint="credentials are read from files, never asked of a service")
            if kind != REGULAR:
                raise Error(f"{what}: {KINDS.get(kind, 'no file')}, and not a regular file")
            file = posix.open(f"/proc/self/fd/{found}", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        finally:
            posix.close(found)
        try:
            content = whole(file, room)
        finally:
            posix.close(file)
    except OSError as error:
        raise because(what, error) from None
    except ValueError:
        raise Error(f"{what}: a path cannot hold NUL") from None
    if len(content) > room:
        raise Error(f"{what}: with it the credentials are over {secrets.LARGEST >> 20} MiB")
    return content


def whole(file: int, room: int) -> bytearray:
    """Return what there is to read, one byte more than `room` where there is more. Raises OSError."""
    content, size = bytearray(room + 1), 0
    while more := posix.readv(file, [memoryview(content)[size:]]):
        size += more
    del content[size:]
    return content

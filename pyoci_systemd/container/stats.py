"""`pyoci stats`: what containers use of processors, memory, disks and networks, as a table that goes on."""

from __future__ import annotations

import posix
from select import poll
from time import monotonic

from .. import log
from ..errors import Error, NotFound
from ..jsonio import dumps
from . import duration, stream
from .events import LIVING, observed
from .statistics import statistics
from .store import Container, ids
from .table import aligned
from .usage import TITLES, cells, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..cgroup.keyed import Data
    from ..settings import Options, Settings

    Samples = dict[str, tuple[float, Data]]  # by container: when, and what was counted by then

INTERVAL = "1s"
CLEAR = "\x1b[H\x1b[J"  # to the upper left corner, and nothing below it


def main(settings: Settings, options: Options) -> int:
    """Show the table. Returns the exit status; raises Error."""
    every = duration.seconds(options.interval or INTERVAL, "--interval")
    stream.end_quietly()
    for name in options.ids:
        observed(settings.root, name)
    terminal = posix.isatty(1)
    if options.stream and options.no_stream:
        raise Error("--stream and --no-stream cannot be given together")
    again = options.stream or (terminal and not options.no_stream)
    try:
        for rows in looks(settings.root, list(dict.fromkeys(options.ids)), every):
            text = dumps(rows) + "\n" if options.format == "json" else aligned([[*TITLES], *map(cells, rows)])
            stream.say(CLEAR + text if terminal and again else text)
            if not again:
                break
    except stream.Hangup:
        pass
    return 0


def looks(root: str, named: list[str], every: float) -> Iterator[list[Data]]:
    """Yield the rows of the table, again and again: of all containers that live, or until none of the named is left.

    Raises Hangup, Error.
    """
    before = samples(root, named)
    while before or not named:
        stream.rest(poll(), every)
        now = samples(root, named)
        yield [
            usage(name, before.get(name, (0.0, {}))[1], data, at - before.get(name, (at, {}))[0])
            for name, (at, data) in now.items()
        ]
        before = now


def samples(root: str, named: list[str]) -> Samples:
    """Look at the containers. Raises Error."""
    return {c.id: (monotonic(), statistics(c.known)) for c in living(root, named or ids(root))}


def living(root: str, names: Iterable[str]) -> Iterator[Container]:
    """Yield the containers of these that live and have a cgroup; one that cannot be read is left out with a warning."""
    for name in names:
        container = Container(root, name)
        try:
            if container.status() in LIVING and container.known.cgroup:
                yield container
        except NotFound:
            continue
        except Error as error:
            log.warning(error.message)

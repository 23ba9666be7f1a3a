"""`pyoci list`: all containers of a state root."""

from __future__ import annotations

import sys

from .. import log
from ..errors import Error, NotFound
from ..jsonio import dumps
from .state import describe
from .store import Container, ids
from .table import aligned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings

# crun's, which scripts cut by
COLUMNS = (
    ("NAME", "id"),
    ("PID", "pid"),
    ("STATUS", "status"),
    ("BUNDLE PATH", "bundle"),
    ("CREATED", "created"),
    ("OWNER", "owner"),
)


def main(settings: Settings, options: Options) -> int:
    """Print the list. Returns the exit status; raises Error."""
    if options.quiet:
        sys.stdout.write("".join(f"{container_id}\n" for container_id in ids(settings.root)))
        return 0
    states = list(gather(settings.root))
    if options.format == "json":
        sys.stdout.write(dumps(states, 2) + "\n")
    else:
        sys.stdout.write(table(states))
    return 0


def gather(root: str) -> list[dict[str, object]]:
    """Return the state of every container. One that cannot be read is left out with a warning, not the whole list."""
    states = []
    for container_id in ids(root):
        try:
            states.append(describe(Container(root, container_id)))
        except NotFound:
            continue  # deleted since we looked
        except Error as error:
            log.warning(error.message)
    return states


def table(states: list[dict[str, object]]) -> str:
    """Return the states as a table."""
    return aligned([[title for title, _ in COLUMNS], *([str(state[key]) for _, key in COLUMNS] for state in states)])

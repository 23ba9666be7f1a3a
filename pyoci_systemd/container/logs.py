"""`pyoci logs`: what the journal has of a container. journalctl shows it; we know what to ask it for."""

from __future__ import annotations

import posix

from ..errors import Error, NotFound, because
from ..plan.properties import escape
from . import identity
from .store import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings

# not by PATH, which may be anybody's
JOURNALCTL = ("/usr/bin/journalctl", "/bin/journalctl")


def main(settings: Settings, options: Options) -> int:
    """Become journalctl. Raises Error."""
    container_id = identity.check(options.id)
    arguments = command(container_id, unit_of(settings, container_id), options, posix.geteuid())
    for program in JOURNALCTL:
        try:
            posix.execv(program, arguments)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise because(f"cannot run `{program}`", error) from None
    raise Error("cannot show logs: there is no `journalctl`")


def unit_of(settings: Settings, container_id: str) -> str:
    """Return the container's scope; of one that is gone, the one that it had if nobody asked for another."""
    try:
        return Container(settings.root, container_id).known.unit
    except NotFound:
        return f"{escape(f'pyoci-{container_id}')}.scope"


def command(container_id: str, unit: str, options: Options, uid: int) -> list[str]:
    """Return journalctl's command line: options, and matches of which one has to be met."""
    number = "" if not options.lines else options.lines
    if number and number != "all" and not (number.isascii() and number.isdigit()):
        raise Error(f"--lines: `{number}` is not a number")
    field = "_SYSTEMD_USER_UNIT" if uid else "_SYSTEMD_UNIT"
    units = [*([unit] if unit else []), f"pyoci@{container_id}.service"]
    return [
        "journalctl",
        *(["--user"] if uid else []),
        *(["--follow"] if options.follow else []),
        *([f"--lines={number}"] if number else []),
        *([f"--since={options.since}"] if options.since else []),
        *([f"--output={options.output}"] if options.output else []),
        # anybody may write an entry that says so; whose it is the journal itself says
        f"CONTAINER_ID={container_id}",
        f"_UID={uid}",
        *(word for unit in units for word in ("+", f"{field}={unit}")),
    ]

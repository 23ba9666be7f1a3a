"""`pyoci ps`: the processes of a container."""

from __future__ import annotations

import sys

from ..cgroup import tree
from ..errors import Error
from ..jsonio import dumps
from . import identity
from .store import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Print the process ids, as the host has them. Returns the exit status; raises Error."""
    container = Container(settings.root, identity.check(options.id))
    if container.status() not in ("created", "running", "paused"):
        raise Error(f"cannot list the processes of `{container.id}`: container not running")
    if not container.known.cgroup:
        raise Error(f"cannot list the processes of `{container.id}`: it has no cgroup of its own")
    pids = sorted(tree.processes(container.known.cgroup))
    if options.format == "json":
        sys.stdout.write(dumps(pids, 2) + "\n")
    else:
        sys.stdout.write("PID\n" + "".join(f"{pid}\n" for pid in pids))
    return 0

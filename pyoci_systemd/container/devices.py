"""Device rules that a program of ours decides on: made for `create`, exchanged by `update`.

Under systemd it is attached to the scope's directory, not by the scope's BPFProgram=: with that systemd 257 takes the
program away at a daemon-reload and does not bring it back, 252 leaves the container without it meanwhile, neither
says a word when the file is missing, and neither lets it be changed. What a cgroup holds by itself stays.
"""

from __future__ import annotations

import posix

from ..cgroup import bpf
from ..plan import device_filter
from ..plan.limits import devices
from . import scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..plan.limits.devices import Rule
    from ..spec.types import Resources
    from .store import Known


def load(rules: list[Rule]) -> int:
    """Return a descriptor of the rules' program, to attach() when there is a cgroup. Raises Error."""
    return bpf.load(device_filter.program(rules))


def attach(cgroup: str, program: int) -> None:
    """Attach what load() returned, and close it. Raises Error."""
    try:
        bpf.attach(cgroup, program)
    finally:
        posix.close(program)


def change(known: Known, limits: Resources, tell: Callable[[], None]) -> None:
    """Put other rules in the place of a container's; `tell` tells systemd its part. Raises Error.

    The new program comes before the old one goes: in between both must let an access through, and so must systemd's.
    So there is no moment in which more is allowed than either the old rules or the new.
    """
    cgroup = scope.directory(known.cgroup, known.unit) if known.unit else known.cgroup
    rules = devices.unsaid(limits, known.manager)
    old, new = [], [load(rules)] if rules else []
    try:
        old = bpf.attached(cgroup)
        for program in new:
            bpf.attach(cgroup, program)
        try:
            tell()
        except BaseException:
            for program in new:
                bpf.detach(cgroup, program)
            raise
        for program in old:
            bpf.detach(cgroup, program)
    finally:
        for program in [*old, *new]:
            posix.close(program)

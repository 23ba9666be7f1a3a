"""The one look at the host that a plan needs."""

from __future__ import annotations

import posix

from .. import kernelfs
from ..plan.facts import Facts


def facts() -> Facts:
    """Return what this process is and may do. Raises OSError when /proc is not there."""
    fields = dict(line.split(":\t", 1) for line in kernelfs.read("/proc/self/status").split("\n") if ":\t" in line)
    # what can be given to a container: held, and within our own bounding set
    capabilities = int(fields["CapPrm"], 16) & int(fields["CapBnd"], 16)
    outer = kernelfs.read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]
    return Facts(posix.geteuid(), capabilities, outer)

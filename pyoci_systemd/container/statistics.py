"""What the kernel counts of a container: the `data` of a `stats` event, in the keys of runc.

What nobody counts is left out: a controller that is not there, a network or a cache that is shared with the host.
"""

from __future__ import annotations

from ..cgroup.files import Files
from ..cgroup.keyed import present
from ..cgroup.stats.cpu import cpu
from ..cgroup.stats.cpuset import cpuset
from ..cgroup.stats.hugetlb import hugetlb
from ..cgroup.stats.io import io
from ..cgroup.stats.memory import memory
from ..cgroup.stats.tasks import tasks
from .interfaces import interfaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..cgroup.keyed import Data
    from .store import Known


def statistics(known: Known) -> Data:
    """Return the statistics of a container that lives. Raises Error."""
    files = Files(known.cgroup)
    data: Data = {
        "cpu": cpu(files.text),
        "cpuset": cpuset(files.text),
        "memory": memory(files.text),
        "pids": tasks(files.text),
        "blkio": io(files.text),
        "hugetlb": hugetlb(files.text, files.names()),
        "intel_rdt": _resctrl(known.resctrl),
        "network_interfaces": interfaces(known.pid),
    }
    return present(data)


def _resctrl(groups: list[str]) -> Data:
    if not groups:
        return {}
    from .resctrl import mount_point  # of large servers alone
    from .resctrlstats import resctrl

    return resctrl(mount_point(), groups)

"""The name by which systemd-machined lists a container, for those who ask for it: machinectl(1), nss-mymachines(8).

Nobody is listed unasked: every user of the host may ask machined what is listed, its processes and its addresses, and
have it look into the files of a container (CVE-2016-6349). And where nss-mymachines is in use, the name leads to these
addresses before DNS is asked. An annotation may have come with an image, so it counts only where the host says so, by
--machine-annotation, and even there takes the name of no other host.
"""

from __future__ import annotations

from ..errors import SpecError, quoted
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config
    from .facts import Request

OPTION, ANNOTATION = "--machine", "org.pyoci.machine"
UUID = "container_uuid"
LONGEST = 64
LOCAL = "localhost"
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
UNITS = ("systemd", "split")
"""the managers under which a container has a unit of its own"""


class Machine(Record):
    """What machined is told of a container beforehand."""

    name: str
    id: str = ""
    """32 hex digits: what a systemd in the container takes for its machine id; "" when nothing says that"""

    def describe(self) -> str:
        """Return what will be done, as a sentence."""
        known = f", with the machine id {self.id}" if self.id else ""
        return f"have systemd-machined list it as the machine `{self.name}`{known}"


def plan(config: Config, request: Request, manager: str) -> Machine | None:
    """Return what is asked for, None when nothing is. Raises SpecError for what machined would not take or not have."""
    asked = (config.get("annotations") or {}).get(ANNOTATION, "")
    culprit, name = (OPTION, request.machine) if request.machine else (f"config.json: annotations: {ANNOTATION}", asked)
    if not name:
        return None
    if not request.machine and not request.machine_annotation:
        reason = "it must not be set by an annotation, only by `--machine`"
        raise SpecError(f"{culprit}: {reason}", hint="the global option `--machine-annotation` lets it count")
    if not is_name(name):
        reason = "is not the name of a machine: up to 64 letters, digits, and dashes and dots between them"
        raise SpecError(f"{culprit}: {quoted(name)} {reason}")
    if not request.machine and ("." in name or name.lower() == LOCAL):
        raise SpecError(f"{culprit}: {quoted(name)} may be the name of another host: only `--machine` sets such a one")
    if manager not in UNITS:
        reason = f"there is no unit under the manager `{manager}`, and by that machined knows a machine"
        raise SpecError(f"{culprit}: {reason}", hint="have a scope: `--cgroup-manager=systemd`")
    return Machine(name, machine_id(config))


def is_name(name: str) -> bool:
    """Does machined take a name: that of a host, without an underscore or a dot at its end."""
    labels = name.split(".")
    return len(name) <= LONGEST and all(
        label and LETTERS.issuperset(label) and label[0] != "-" != label[-1] for label in labels
    )


def machine_id(config: Config) -> str:
    """Return the machine id of a container that is given one, "" for others. Pure.

    A systemd in it takes $container_uuid for that (the Container Interface of systemd); podman sets it for those. An id
    made up from anything else would be one that nobody in the container knows.
    """
    for variable in config.get("process", {}).get("env") or ():
        name, _, value = variable.partition("=")
        if name == UUID:  # the first counts, as for getenv(3)
            groups = [len(group) for group in value.split("-")]
            digits = value.replace("-", "").lower()
            whole = groups in ([32], [8, 4, 4, 4, 12]) and frozenset("0123456789abcdef").issuperset(digits)
            return digits if whole and digits.strip("0") else ""
    return ""

"""What becomes of a container, told to the journal: entries with fields to search by, for whoever asked for them.

units/pyoci.catalog explains each by its MESSAGE_ID (`journalctl --catalog`).
"""

from __future__ import annotations

from .. import log
from ..errors import reason
from ..settings import is_rootless
from ..systemd import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Known(Protocol):
        """What is remembered of a container: see store.Known."""

        id: str
        bundle: str
        unit: str
        annotations: dict[str, str]


MESSAGES = {
    "created": "3838c14f7354439fb8a88e1cebc9d519",
    "started": "686b780b0ed94ee2b49120de4fe21b36",
    "died": "86e375824f584423b1d0b69a56166270",
    "deleted": "190440b8b5f444169e480247c22a70ff",
}


def tell(event: str, known: Known, **fields: str) -> None:
    """Tell what happened, one of MESSAGES, if the container's creator asked for that. Never raises."""
    priority, text = journal.INFO, f"container `{known.id}` {event}"
    if event == "died":
        priority, text = ended(text, **fields)
    entry = {
        "MESSAGE": text,
        "MESSAGE_ID": MESSAGES[event],
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "pyoci",
        "CONTAINER_ID": known.id,
        "CONTAINER_NAME": known.annotations.get("io.kubernetes.cri.container-name") or known.id,
        "CONTAINER_BUNDLE": known.bundle,
        "CONTAINER_EVENT": event,
        **fields,
    }
    try:
        # a service's own entries name it themselves
        entry["OBJECT_SYSTEMD_USER_UNIT" if is_rootless() else "OBJECT_SYSTEMD_UNIT"] = known.unit
        journal.send(entry)
    except OSError as error:
        log.warning(f"cannot tell the journal that {text}: {reason(error)}")


def ended(text: str, EXIT_CODE: str, EXIT_STATUS: str) -> tuple[int, str]:
    """Return the priority and the words for an end; the fields are named as in systemd's own entries."""
    if EXIT_CODE == "killed":
        return journal.NOTICE, f"{text}, killed by signal {EXIT_STATUS}"
    return (journal.INFO if EXIT_STATUS == "0" else journal.NOTICE), f"{text} with exit status {EXIT_STATUS}"

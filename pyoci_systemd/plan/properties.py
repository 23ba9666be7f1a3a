"""The scope: its name, and its properties in the order in which systemd must get them."""

from __future__ import annotations

from ..errors import SpecError
from .facts import Request
from .marker import PLAIN, marker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.types import Config

    Property = tuple[str, str, object]

MAX_UNIT_NAME = 255


def escape(text: str) -> str:
    r"""Return `text` as part of a unit name: `\xNN` for what is not allowed there (systemd-escape(1))."""
    return "".join(c if c in PLAIN else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in text)


def unit_and_slice(config: Config, container_id: str) -> tuple[str, str]:
    """Return the names of the scope and of its slice ("" leaves that to systemd).

    Raises SpecError for a cgroupsPath that is no `slice:prefix:name`.
    """
    path = config.get("linux", {}).get("cgroupsPath") or ""
    parent = ""
    if not path:
        name = f"pyoci-{container_id}"
    else:
        parent, colon, rest = path.partition(":")
        prefix, second, last = rest.partition(":")
        if not colon or not rest.strip(":"):
            raise SpecError(f"config.json: linux.cgroupsPath: `{path}` is not of the form `slice:prefix:name`")
        name = f"{prefix}-{last}" if second and prefix else last or prefix
        if name.endswith(".slice"):
            reason = "a slice, and these hold no processes: a container's unit is a scope"
            raise SpecError(f"config.json: linux.cgroupsPath: `{name}` is the name of {reason}")
        if parent and not is_slice(parent):
            raise SpecError(f"config.json: linux.cgroupsPath: `{parent}` is not the name of a slice")
    unit = escape(name) + ".scope"
    if len(unit) > MAX_UNIT_NAME:
        culprit = "config.json: linux.cgroupsPath" if path else "container id"
        raise SpecError(f"{culprit}: the unit name `{unit[:40]}…` is longer than {MAX_UNIT_NAME}")
    return unit, parent


def is_slice(name: str) -> bool:
    """Is `name` one of a slice (systemd.slice(5)): its dashes are the hierarchy, so each stands between two names."""
    stem = name.removesuffix(".slice")
    parts = stem.replace("\\x", "").split("-")
    return stem != name and (stem == "-" or all(part and escape(part) == part for part in parts))


def description(config: Config, request: Request) -> str:
    """Return what `systemctl status` shows first: the id, then the image or the command."""
    notes = config.get("annotations", {})
    name = notes.get("io.kubernetes.cri.container-name") or notes.get("io.container.manager.name") or ""
    image = (
        notes.get("io.kubernetes.cri.image-name")
        or notes.get("org.opencontainers.image.ref.name")
        or notes.get("org.opencontainers.image.base.name")
        or ""
    )
    command = " ".join(config.get("process", {}).get("args") or ())
    title = f"{name} ({request.id})" if name else request.id
    text = f"container {title}: {image or command}" if image or command else f"container {title}"
    # one line of printable text: the unit must be readable whatever the image calls itself
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def plan(
    config: Config, request: Request, named: Sequence[Property], limits: Sequence[Property]
) -> tuple[Property, ...]:
    """Return the scope's properties, in order: `named` by the caller (overrides.py), `limits` of linux.resources.

    Identity comes last but for the limits: an annotation may change the description, never the processes or the place.
    """
    path = request.config_path or f"{request.bundle}/config.json"
    _, parent = unit_and_slice(config, request.id)
    own: list[Property] = [("Description", "s", description(config, request))]
    if request.attended or config.get("linux", {}).get("cgroupsPath"):
        # when the host goes down, whoever looks after it (we, or the client that chose its place) stops it in its time;
        # nobody else's is stopped by systemd, and not by the signal to all that comes last
        own.append(("DefaultDependencies", "b", False))
    own.append(("CollectMode", "s", "inactive-or-failed"))
    replaced = {name for name, _, _ in named}
    return (
        *(entry for entry in own if entry[0] not in replaced),
        *named,
        ("Documentation", "as", ["man:pyoci(1)", marker(request.state_dir)]),
        # systemd writes it into the unit's file as it is: a newline in it would begin another setting
        *([("SourcePath", "s", path)] if path.isprintable() else []),
        *([("Slice", "s", parent)] if parent else []),
        ("Delegate", "b", True),
        ("PIDs", "au", []),
        ("CPUAccounting", "b", True),
        ("MemoryAccounting", "b", True),
        ("IOAccounting", "b", True),
        ("TasksAccounting", "b", True),
        *limits,
    )

"""`pyoci update`: change the limits of a container that lives.

What is asked is laid over what the container has, section by section, for some limits are known by others: swap is
counted with memory, a quota with its period. systemd is told first, so that a daemon-reload knows it too; then the
container's own cgroup is written. The copy of config.json is kept up to date, for the next update and for `exec`.
"""

from __future__ import annotations

from time import monotonic

from .. import jsonio, kernelfs, log
from ..cgroup import tree
from ..errors import Error, SpecError, because
from ..plan import overrides, resources
from ..plan.marker import marker
from ..settings import is_rootless
from ..spec.kept import kept
from ..spec.load import load_resources
from ..systemd import manager
from . import identity, scope
from .caller import document
from .store import CONFIG, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..settings import Options, Settings
    from ..spec.types import Config, Resources

    Property = tuple[str, str, object]

DEADLINE = 10.0
UNITS = {"k": 10, "m": 20, "g": 30, "t": 40}
# option: section, key
OPTIONS = {
    "blkio_weight": ("blockIO", "weight"),
    "cpu_period": ("cpu", "period"),
    "cpu_quota": ("cpu", "quota"),
    "cpu_burst": ("cpu", "burst"),
    "cpu_idle": ("cpu", "idle"),
    "cpu_rt_period": ("cpu", "realtimePeriod"),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime"),
    "cpu_share": ("cpu", "shares"),
    "cpuset_cpus": ("cpu", "cpus"),
    "cpuset_mems": ("cpu", "mems"),
    "kernel_memory": ("memory", "kernel"),
    "kernel_memory_tcp": ("memory", "kernelTCP"),
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
    "pids_limit": ("pids", "limit"),
}
TEXTS = ("cpuset_cpus", "cpuset_mems")
OF_THE_DOCUMENT, OF_THE_CONFIG = "resources", "config.json: linux.resources"


def main(settings: Settings, options: Options) -> int:
    """Change what is asked for. Returns the exit status; raises Error."""
    asked = wanted(options)
    named = [overrides.of_option(text, live=True) for text in options.property]
    container = Container(settings.root, identity.check(options.id))
    container.lock()
    if container.status() not in ("created", "running", "paused"):
        raise Error(f"cannot update `{container.id}`: container not running")
    config = kept(jsonio.contents(f"{container.path}/{CONFIG}"), CONFIG)
    before = config.get("linux", {}).get("resources", {})
    after = merged(before, asked)
    try:
        load_resources(jsonio.dumps(after).encode(), OF_THE_DOCUMENT)
        change(container, only(after, asked), named)
    except SpecError as error:
        raise SpecError(error.message.replace(OF_THE_CONFIG, OF_THE_DOCUMENT, 1)) from None
    keep(container, config, after)
    return 0


# -- what is asked


def wanted(options: Options) -> Resources:
    """Return what the file and the options ask for; the options count. Raises Error."""
    asked: Any = {}
    if options.resources:
        asked = load_resources(*document(options.resources))
    for name, (section, key) in OPTIONS.items():
        word: str = getattr(options, name)
        if word:
            value = word if name in TEXTS else number(word, f"--{name.replace('_', '-')}")
            asked.setdefault(section, {})[key] = value
    if not asked and not options.resources and not options.property:
        raise Error("nothing to update", hint="name a limit, a file with `--resources`, or a property")
    return load_resources(jsonio.dumps(asked).encode(), OF_THE_DOCUMENT)


def number(text: str, option: str) -> int:
    """Return `-1`, `512`, or bytes as `512m`. Raises Error."""
    digits, shift = text.removeprefix("-"), UNITS.get(text[-1:].lower(), 0)
    digits = digits[:-1] if shift else digits
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise Error(f"option `{option}` takes a number, not `{text}`", status=2)
    value = int(digits) << shift
    return -value if text[0] == "-" else value


def merged(before: Resources, asked: Resources) -> Resources:
    """Return the limits with what is asked laid over them, member by member."""
    result: Any = {**before}
    for section, value in asked.items():
        old = result.get(section)
        result[section] = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value
    was_idle, cpu = before.get("cpu", {}).get("idle") == 1, result.get("cpu", {})
    if was_idle and cpu.get("idle") == 0 and not cpu.get("shares"):
        result["cpu"] = {**cpu, "shares": 1024}  # or the unit would stay idle: it has one property for both
    return result  # type: ignore[no-any-return]


def only(after: Resources, asked: Resources) -> Resources:
    """Return the sections that are asked about: what an administrator has set of the others stays."""
    result: Any = {section: value for section, value in after.items() if section in asked}
    return result  # type: ignore[no-any-return]


# -- what is done


def change(container: Container, limits: Resources, named: list[Property]) -> None:
    """Tell systemd, also the properties that were asked for by name, and write the files. Raises Error."""
    known = container.known
    if limits.get("devices") and is_rootless():
        log.warning(resources.UNENFORCED)
        limits = {**limits, "devices": []}
    told, files = [*resources.properties(limits), *named], resources.files(limits)
    if named and not known.unit:
        raise Error(f"cannot update `{container.id}`: it has no scope that could have the property `{named[0][0]}`")
    if not known.cgroup:
        raise Error(f"cannot update `{container.id}`: it has no cgroup of its own")
    if limits.get("devices") and not known.unit:
        raise Error(f"cannot update `{container.id}`: its devices are restricted by a program that is not changed")
    check_usage(known.cgroup, limits)
    for file in files:
        tree.place(known.cgroup, file)  # systemd takes a limit that no controller keeps
    if known.unit and told:
        deadline = monotonic() + DEADLINE
        with scope.connect() as bus:
            if not scope.is_ours(bus, known.unit, marker(container.absolute()), deadline):
                raise Error(f"`{known.unit}` is not the scope of `{container.id}` any more")
            manager.set_unit_properties(bus, known.unit, told, deadline=deadline)
    tree.apply(known.cgroup, files)


def check_usage(cgroup: str, limits: Resources) -> None:
    """Refuse a limit below what is in use, if that is asked for: the kernel would kill. Raises Error."""
    memory = limits.get("memory", {})
    maximum = memory.get("limit", -1)
    if not memory.get("checkBeforeUpdate") or maximum < 0:
        return
    try:
        used = int(kernelfs.read(f"{cgroup}/memory.current"))
    except OSError as error:
        raise because(f"cannot read `{cgroup}/memory.current`", error) from None
    if used > maximum:
        raise Error(f"resources.memory.limit: {maximum} bytes are less than the {used} in use")


def keep(container: Container, config: Config, limits: Resources) -> None:
    """Keep the limits in our copy of the config. Raises Error."""
    config["linux"] = {**config.get("linux", {}), "resources": limits}
    container.write_file(CONFIG, jsonio.dumps(config).encode())

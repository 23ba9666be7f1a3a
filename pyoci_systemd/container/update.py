"""`pyoci update`: change the limits of a container that lives.

What is asked is laid over what the container has, section by section, for some limits are known by others: swap is
counted with memory, a quota with its period. The container's own cgroup is written first, for the kernel judges and
systemd takes anything; then systemd is told, so that a daemon-reload knows it too. The copy of config.json is kept up
to date, for the next update and for `exec`.
"""

from __future__ import annotations

from time import monotonic

from .. import jsonio, kernelfs, log
from ..cgroup import tree
from ..cgroup.saved import Saved
from ..errors import Error, SpecError, because
from ..plan import overrides, resources
from ..plan.limits import devices as device_rules
from ..plan.limits import memory, numbers
from ..plan.marker import marker
from ..spec.kept import kept
from ..spec.load import load_resources
from . import identity, probe, scope
from .caller import document
from .store import CONFIG, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..cgroupfile import File
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
    try:
        after = merged(before, asked)
        load_resources(jsonio.dumps(after).encode(), OF_THE_DOCUMENT)
        change(container, steps(before, only(after, asked)), named, before)
    except SpecError as error:
        raise SpecError(error.message.replace(OF_THE_CONFIG, OF_THE_DOCUMENT, 1)) from None
    if options.l3_cache_schema or options.mem_bw_schema:
        from . import resctrl  # of large servers alone

        resctrl.change(container.known.resctrl, options.l3_cache_schema, options.mem_bw_schema)
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
    others = options.resources or options.property or options.l3_cache_schema or options.mem_bw_schema
    if not asked and not others:
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
    """Return the limits with what is asked laid over them, member by member.

    What `unified` says counts more than a section, so a section that is asked for takes the place of what it said.
    Raises SpecError.
    """
    result: Any = {**before}
    for section, value in asked.items():
        old = result.get(section)
        if section != "devices" or value:  # an empty list asks for nothing
            result[section] = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value
    was_idle, cpu = before.get("cpu", {}).get("idle") == 1, result.get("cpu", {})
    if was_idle and cpu.get("idle") == 0 and not cpu.get("shares"):
        result["cpu"] = {**cpu, "shares": 1024}  # or the unit would stay idle: it has one property for both
    if result.get("unified"):
        sections: Any = {name: value for name, value in result.items() if name in asked and name != "unified"}
        said = {file.name for file in resources.files(sections)} - {*asked.get("unified", ())}
        result["unified"] = {key: value for key, value in result["unified"].items() if key not in said}
    return result  # type: ignore[no-any-return]


def only(after: Resources, asked: Resources) -> Resources:
    """Return the sections, and files of `unified`, that are asked about: what an administrator set of others stays."""
    result: Any = {section: value for section, value in after.items() if section in asked}
    if "unified" in asked:
        result["unified"] = asked["unified"]
    return result  # type: ignore[no-any-return]


def steps(before: Resources, limits: Resources) -> list[Resources]:
    """Return what has to be asked for, one after the other; `limits` come last."""
    first: Any = {}
    if before.get("cpu", {}).get("burst") and "burst" in limits.get("cpu", {}):
        first["cpu"] = {"burst": 0}  # the kernel refuses a quota below the burst in force
    old, new = before.get("memory", {}), limits.get("memory", {})
    if old.get("swap") and new.get("swap") and 0 < new.get("limit", 0) < old.get("limit", 0):
        # to get below a limit of memory it swaps, and kills where it may not: room for that comes first
        room, wider = memory.swap(old), memory.swap(new)
        if room >= 0 and not 0 <= wider <= room:
            first["unified"] = {"memory.swap.max": numbers.number(wider)}
    return [first, limits] if first else [limits]


# -- what is done


def change(container: Container, asked: list[Resources], named: list[Property], before: Resources) -> None:
    """Refuse what can be known to fail, then do one step after the other, the properties by name last: all or none.

    Raises Error.
    """
    known = container.known
    if named and not known.unit:
        raise Error(f"cannot update `{container.id}`: it has no scope that could have the property `{named[0][0]}`")
    if not known.cgroup:
        raise Error(f"cannot update `{container.id}`: it has no cgroup of its own")
    if asked[-1].get("devices") and not probe.facts({}).restricts_devices:  # type: ignore[typeddict-item]
        log.warning(device_rules.UNPRIVILEGED)
        asked[-1] = device_rules.enforced(asked[-1], False)
    check_usage(known.cgroup, asked[-1])
    # what is no limit at all is refused before where it would go
    told = [resources.properties(step) for step in asked]
    files = [resources.files(step) for step in asked]
    all_files = [file for of_step in files for file in of_step]
    # systemd takes a limit that no controller keeps: that there is a file for each is seen here
    saved = [Saved(known.cgroup, all_files)]
    if known.unit:
        saved.append(Saved(scope.directory(known.cgroup, known.unit), [file for file in all_files if file.above]))
    try:
        for step, properties, written in zip(asked, told, files):
            perform(container, step, written, properties, named if step is asked[-1] else [])
    except BaseException:
        for cgroup in saved:
            cgroup.restore()
        if len(asked) > 1 and known.unit:
            tell_systemd(container, resources.properties(only(before, asked[-1])), [])
        raise


def perform(
    container: Container, limits: Resources, files: list[File], told: list[Property], named: list[Property]
) -> None:
    """Write the files, tell systemd, and exchange what restricts devices. Raises Error."""
    known = container.known
    tree.apply(known.cgroup, files)

    def tell() -> None:
        if known.unit and (told or named):
            tell_systemd(container, told, named)

    if limits.get("devices"):
        from . import devices  # 6 ms of ctypes

        devices.change(known, limits, tell)
    else:
        tell()
    if known.unit:
        tree.apply(scope.directory(known.cgroup, known.unit), [file for file in files if file.above])


def tell_systemd(container: Container, told: list[Property], named: list[Property]) -> None:
    """Change the properties of the scope, if it is still the container's. Raises Error."""
    unit, deadline = container.known.unit, monotonic() + DEADLINE
    with scope.connect() as bus:
        if not scope.is_ours(bus, unit, marker(container.absolute()), deadline):
            raise Error(f"`{unit}` is not the scope of `{container.id}` any more")
        scope.change(bus, unit, [*told, *named], deadline, [name for name, _, _ in named])


def check_usage(cgroup: str, limits: Resources) -> None:
    """Refuse a limit below what is in use, if that is asked for: the kernel would kill. Raises Error."""
    asked = limits.get("memory", {})
    maximum = asked.get("limit", -1)
    if not asked.get("checkBeforeUpdate") or maximum < 0:
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

"""Limits in one form, wherever they are read: config.json, a unit's properties, the files of a cgroup.

A limit is known by the kernel's name for it, `memory.max`, and where a file has many, by its line and word too:
`io.max 8:0 rbps`. Values are what both systemd and the kernel can keep: bytes are whole pages, a quota is whole percent
of a processor (systemd counts in 10 ms a second), `max` is no limit. Pure.
"""

from __future__ import annotations

from ...spec.numbers import bits, said
from .cpu import PERIOD, SECOND, per_second
from .io import THROTTLES, weight
from .numbers import INFINITY
from .unified import AMOUNTS, amount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Limits = dict[str, str]
    Nodes = Callable[[str], str]  # the path of a device to `char 1:3` or `block 8:0`, "" when it is none

MOST_CPUS = 1 << 16
BYTES = {file: name for file, name in AMOUNTS.items() if file != "pids.max"}
PROPERTIES = {name: file for file, name in AMOUNTS.items()}
WORDS = dict(THROTTLES.values())
HUGE = {"KB": 10, "MB": 20, "GB": 30}
SETS = {"AllowedCPUs": "cpuset.cpus", "AllowedMemoryNodes": "cpuset.mems"}

# what a cgroup's file says, in this form, as long as nobody has limited anything
UNLIMITED = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.low": "0",
    "memory.min": "0",
    "memory.swap.max": "max",
    "memory.zswap.max": "max",
    "memory.oom.group": "0",
    "pids.max": "max",
    "cpu.max": "max",
    "cpu.max.period": f"{PERIOD}",
    "cpu.max.burst": "0",
    "cpu.weight": "100",
    "cpu.idle": "0",
    "cpuset.cpus": "",
    "cpuset.mems": "",
    "io.weight": "100",
    "io.max": "max",
    "rdma.max": "max",
    "devices": "auto",
}


def unlimited(key: str) -> str:
    """Return the value of a limit that nobody has asked for."""
    name, _, of = key.partition(" ")
    return "" if name == "io.weight" and of else UNLIMITED.get(name, "")


def file_of(key: str) -> str:
    """Return the name of the cgroup's file that a limit is kept in."""
    return "cpu.max" if key == "cpu.max.period" else key.partition(" ")[0]


# -- files


def of_file(name: str, text: str, page: int) -> Limits:
    """Return the limits in a cgroup's file, as it is read or is to be written; `page` is the size of one in bytes."""
    try:
        return FILES.get(name, _anything)(name, text.strip(), page)
    except (LookupError, ArithmeticError, ValueError):
        return {name: " ".join(text.split())}  # shown as it is


def _bytes(name: str, text: str, page: int) -> Limits:
    return {name: whole(amount(text), page)}


def whole(size: int, page: int) -> str:
    """Return a number of bytes as the kernel keeps it, which is in pages."""
    return "max" if size >= INFINITY // page * page else str(size // page * page)


def _cpu_max(name: str, text: str, page: int) -> Limits:
    quota, *period = text.split()
    length = int(period[0]) if period else PERIOD
    share = INFINITY if quota == "max" else per_second(int(quota), length)
    return {"cpu.max": percent(share), "cpu.max.period": str(length)}


def percent(share: int) -> str:
    """Return microseconds a second as systemd's CPUQuota= says them."""
    return "max" if share == INFINITY else f"{share * 100 // SECOND}%"


def _set(name: str, text: str, page: int) -> Limits:
    mask = bits(text, MOST_CPUS) if text else 0
    return {name: _said(mask) if mask >= 0 else text}


def _said(mask: int) -> str:
    return said(mask).replace(" ", "")


def _io_max(name: str, text: str, page: int) -> Limits:
    found: Limits = {}
    for line in text.splitlines():
        of, *words = line.split()
        for word in words:
            kind, _, rate = word.partition("=")
            found[f"{name} {of} {kind}"] = rate if rate == "max" else str(amount(rate))
    return found


def _io_weight(name: str, text: str, page: int) -> Limits:
    found = {}
    for line in text.splitlines():
        *of, number = line.split()
        scaled = str(weight(int(number)) if name == "io.bfq.weight" else int(number))
        found["io.weight" if of in ([], ["default"]) else f"io.weight {of[0]}"] = scaled
    return found


def _lines(name: str, text: str, page: int) -> Limits:
    """Return `name line word` for each `word=value` of each line."""
    found: Limits = {}
    for line in text.splitlines():
        of, *words = line.split()
        found |= {f"{name} {of} {word.partition('=')[0]}": word.partition("=")[2] for word in words}
    return found


def _anything(name: str, text: str, page: int) -> Limits:
    parts = name.split(".")
    if parts[0] == "hugetlb" and len(parts) > 2 and parts[1][-2:] in HUGE:
        return _bytes(name, text, int(parts[1][:-2]) << HUGE[parts[1][-2:]])
    lines = [line.split(None, 1) for line in text.splitlines() if line]
    if all(len(words) == 2 for words in lines):
        return {f"{name} {of}": " ".join(rest.split()) for of, rest in lines}
    return {name: " ".join(text.split())}


FILES = {
    **dict.fromkeys(BYTES, _bytes),
    "cpu.max": _cpu_max,
    "cpuset.cpus": _set,
    "cpuset.mems": _set,
    "io.max": _io_max,
    "io.weight": _io_weight,
    "io.bfq.weight": _io_weight,
    "io.latency": _lines,
    "rdma.max": _lines,
}


# -- properties


def of_property(name: str, value: object, page: int, node: Nodes) -> Limits:
    """Return the limits in a unit's property, as it is read or is to be set; none in one that is no limit."""
    if name in PROPERTIES and isinstance(value, int):
        file = PROPERTIES[name]
        return {file: whole(value, page if file in BYTES else 1)}
    if name in PROPERTIES_OF and isinstance(value, int):
        return PROPERTIES_OF[name](value)
    if name in SETS and isinstance(value, (bytes, list, tuple)):
        return {SETS[name]: _said(int.from_bytes(bytes(value), "little"))}
    if name == "OOMPolicy":
        return {"memory.oom.group": "1" if value == "kill" else "0"}
    if name == "DevicePolicy":
        return {"devices": str(value)}
    if not isinstance(value, (list, tuple)):
        return {}
    if name == "DeviceAllow":
        return _devices(value, node)
    if name == "IODeviceWeight":
        return {f"io.weight {_device(of, node)}": str(size) for of, size in value}
    if name == "IODeviceLatencyTargetUSec":
        return {f"io.latency {_device(of, node)} target": str(time) for of, time in value}
    if name in WORDS:
        return {f"io.max {_device(of, node)} {WORDS[name]}": whole(rate, 1) for of, rate in value}
    return {}


def _cpu_weight(value: int) -> Limits:
    if value == 0:
        return {"cpu.idle": "1"}
    return {"cpu.weight": UNLIMITED["cpu.weight"] if value == INFINITY else str(value), "cpu.idle": "0"}


PROPERTIES_OF: Mapping[str, Callable[[int], Limits]] = {
    "CPUWeight": _cpu_weight,
    "CPUQuotaPerSecUSec": lambda value: {"cpu.max": percent(value)},
    "CPUQuotaPeriodUSec": lambda value: {"cpu.max.period": str(PERIOD if value == INFINITY else value)},
    "IOWeight": lambda value: {"io.weight": UNLIMITED["io.weight"] if value == INFINITY else str(value)},
}
# name: the value by which systemd takes the limit away, with its type
LIFTED: dict[str, tuple[str, object]] = {
    **dict.fromkeys((*PROPERTIES, *PROPERTIES_OF), ("t", INFINITY)),
    "MemoryLow": ("t", 0),
    "MemoryMin": ("t", 0),
    **dict.fromkeys(SETS, ("ay", b"")),
    **{name: ("a(st)", []) for name in (*WORDS, "IODeviceWeight", "IODeviceLatencyTargetUSec")},
    "DeviceAllow": ("a(ss)", []),
    "DevicePolicy": ("s", "auto"),
}
NAMES = (*LIFTED, "OOMPolicy")


def _node(path: str, node: Nodes) -> str:
    """Return a device as `char 1:3`; as systemd names it when it has no numbers, as `char-pts`."""
    directory, _, numbers = path.rpartition("/")
    if directory in ("/dev/char", "/dev/block"):
        return f"{directory[5:]} {numbers}"
    return path.startswith("/") and node(path) or path


def _device(path: str, node: Nodes) -> str:
    return _node(path, node).removeprefix("block ")


def _devices(rules: list[tuple[str, str]] | tuple[tuple[str, str], ...], node: Nodes) -> Limits:
    """Return each device with all that the rules allow of it: `device char 1:3` as `rwm`."""
    found: dict[str, set[str]] = {}
    for path, access in rules:
        found.setdefault(f"device {_node(path, node)}", set()).update(access)
    return {key: "".join(letter for letter in "rwm" if letter in letters) for key, letters in found.items()}

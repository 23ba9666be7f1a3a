"""linux.resources as unit properties (systemd.resource-control(5)), and what must be refused for now."""

from __future__ import annotations

from ..errors import SpecError
from ..spec.numbers import MOST_CPUS, bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ..spec.types import Config, DeviceRule, Resources

    Property = tuple[str, str, object]

INFINITY = (1 << 64) - 1
SECOND = 1_000_000


def limit(value: int) -> int:
    """Return a limit as systemd counts it: -1 is infinity."""
    return INFINITY if value < 0 else value


def weight(shares: int) -> int:
    """Return cpu.shares (2…262144) as cpu.weight (1…10000).

    The curve all runtimes share: 10^((l² + 125 l) / 612 - 7 / 34) with l = log2(shares), rounded up, so that the
    default of 1024 shares is the default weight of 100.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def mask(text: str) -> bytes:
    """Return a list such as `0-2,7` as a bit mask of bytes, lowest first.

    Raises SpecError when it is no such list.
    """
    numbers = bits(text, MOST_CPUS)
    if numbers < 0:
        raise SpecError(f"config.json: linux.resources.cpu: `{text}` is not a list of numbers and ranges")
    return numbers.to_bytes((numbers.bit_length() + 7) // 8, "little")


def memory(resources: Resources) -> list[Property]:
    """Return the memory limits. swap is the sum of memory and swap; systemd counts swap alone."""
    asked = resources.get("memory", {})
    result: list[Property] = []
    total, maximum = asked.get("swap"), asked.get("limit")
    if maximum:
        result.append(("MemoryMax", "t", limit(maximum)))
    if asked.get("reservation"):
        result.append(("MemoryLow", "t", limit(asked["reservation"])))
    if total:
        if total > 0 and not (maximum and maximum > 0):
            raise SpecError("config.json: linux.resources.memory.swap needs memory.limit: it counts both together")
        if maximum and 0 < total < maximum:
            raise SpecError("config.json: linux.resources.memory.swap counts memory too: it is less than memory.limit")
        result.append(("MemorySwapMax", "t", INFINITY if total < 0 else total - (maximum or 0)))
    return result


def cpu(resources: Resources) -> list[Property]:
    """Return the weight, the quota and the allowed processors and memory nodes."""
    asked = resources.get("cpu", {})
    result: list[Property] = []
    if asked.get("shares"):
        result.append(("CPUWeight", "t", weight(asked["shares"])))
    quota, period = asked.get("quota"), asked.get("period") or 100_000
    if quota:
        # systemd counts in steps of 10 ms a second; rounded up, so that nobody gets less than was asked
        share = INFINITY if quota < 0 else -(-quota * SECOND // period // 10_000) * 10_000
        result.append(("CPUQuotaPerSecUSec", "t", share))
    if asked.get("period"):
        result.append(("CPUQuotaPeriodUSec", "t", period))
    if asked.get("cpus"):
        result.append(("AllowedCPUs", "ay", mask(asked["cpus"])))
    if asked.get("mems"):
        result.append(("AllowedMemoryNodes", "ay", mask(asked["mems"])))
    return result


def pids(resources: Resources) -> list[Property]:
    """Return the limit on tasks; 0 asks for none (spec: a limit is positive, or negative for no limit)."""
    asked = resources.get("pids", {}).get("limit")
    return [("TasksMax", "t", limit(asked))] if asked else []


# -- devices

# F192: what every container may use: the default devices, terminals, and making any node
ALWAYS = (
    ("char-*", "m"),
    ("block-*", "m"),
    ("/dev/char/1:3", "rwm"),
    ("/dev/char/1:5", "rwm"),
    ("/dev/char/1:7", "rwm"),
    ("/dev/char/1:8", "rwm"),
    ("/dev/char/1:9", "rwm"),
    ("/dev/char/5:0", "rwm"),
    ("/dev/char/5:2", "rwm"),
    ("char-136", "rwm"),
)


FAMILIES = {"c": ("char",), "b": ("block",)}
BOTH = ("char", "block")  # type `a`, or none


def about_all(rule: DeviceRule) -> bool:
    """Is a rule about every device there is, if perhaps about a part of the access only."""
    return rule.get("type") not in FAMILIES and rule.get("major", -1) < 0 and rule.get("minor", -1) < 0


def sweeping(rule: DeviceRule) -> bool:
    """Does a rule leave nothing of those before it: it is about every access to every device."""
    return about_all(rule) and set(rule.get("access") or "rwm") == set("rwm")


def _device(rule: DeviceRule, family: str, where: str) -> str:
    """Return a rule's device as DeviceAllow= names it."""
    major, minor = rule.get("major", -1), rule.get("minor", -1)
    if major < 0:
        if minor >= 0:
            raise SpecError(f"config.json: {where}: a minor number needs a major number")
        return f"{family}-*"
    return f"{family}-{major}" if minor < 0 else f"/dev/{family}/{major}:{minor}"


def _overlap(one: DeviceRule, other: DeviceRule) -> bool:
    """Is there a device that both rules are about."""

    def meet(key: Literal["major", "minor"]) -> bool:
        a, b = one.get(key, -1), other.get(key, -1)
        return a < 0 or b < 0 or a == b

    of_one_type = one.get("type") == other.get("type") or not {one.get("type"), other.get("type")} <= FAMILIES.keys()
    return of_one_type and meet("major") and meet("minor")


def devices(resources: Resources) -> list[Property]:
    """Return the device policy.

    The list is emptied before the policy and filled after it: in any other order systemd sees a change of policy
    with the old list and asks for a daemon-reload.
    """
    rules = resources.get("devices") or ()
    if not rules:
        return []
    allowed: list[tuple[str, str]] = []
    everything, since = False, 0
    for index, rule in enumerate(rules):
        where, access = f"linux.resources.devices[{index}]", rule.get("access") or "rwm"
        if sweeping(rule):
            allowed, everything, since = [], rule["allow"], index
        elif rule["allow"]:
            allowed += [(_device(rule, family, where), access) for family in FAMILIES.get(rule.get("type", "a"), BOTH)]
        elif any(_overlap(rule, before) for before in rules[since:index] if before["allow"]):
            raise SpecError(f"config.json: {where}: a deny after an allow of the same device is not supported yet")
    if everything:
        return [("DeviceAllow", "a(ss)", []), ("DevicePolicy", "s", "auto")]
    return [
        ("DeviceAllow", "a(ss)", []),
        ("DevicePolicy", "s", "strict"),
        ("DeviceAllow", "a(ss)", [*ALWAYS, *allowed]),
    ]


# -- what is still to come: named, never ignored

_LATER = (
    ("memory", ("kernel", "kernelTCP", "swappiness", "disableOOMKiller", "useHierarchy", "checkBeforeUpdate")),
    ("cpu", ("burst", "realtimeRuntime", "realtimePeriod", "idle")),
    ("blockIO", ()),
    ("hugepageLimits", ()),
    ("network", ()),
    ("rdma", ()),
    ("unified", ()),
)


def refuse_later(resources: Resources) -> None:
    """Raise SpecError for a limit that would not be kept. Empty objects ask for nothing."""
    for section, keys in _LATER:
        value: Any = resources.get(section)
        if not keys and any(value.values() if isinstance(value, dict) else value or ()):
            raise SpecError(f"config.json: linux.resources.{section} is not supported yet")
        for key in keys:
            asked = value.get(key) if value else None
            # clients write `false` and 0 for what nobody asked; but a swappiness of 0 is a wish like any other
            if asked or (key == "swappiness" and asked == 0):
                raise SpecError(f"config.json: linux.resources.{section}.{key} is not supported yet")


def plan(config: Config) -> list[Property]:
    """Return every limit of the config as unit properties."""
    resources = config.get("linux", {}).get("resources", {})
    refuse_later(resources)
    return [*memory(resources), *cpu(resources), *pids(resources), *devices(resources)]

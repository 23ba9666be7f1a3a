"""linux.resources.devices as systemd's DeviceAllow."""

from __future__ import annotations

from ...errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from ...spec.types import DeviceRule, Resources

    Property = tuple[str, str, object]

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


def properties(resources: Resources) -> list[Property]:
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

"""linux.resources.devices: the rules in order, and as much of them as systemd's DeviceAllow= can say.

DeviceAllow= (systemd.resource-control(5)) is a list of grants. Nothing in it takes away; an entry lets an access
through when it grants the whole of it; and of two entries for one device the later replaces the earlier. So the rules
are worked out first: what every device that they name may do in the end, and all others of its major, and of its type.
What cannot be said that way is said to systemd too generously, and a program (plan/device_filter.py) decides as well:
the kernel lets an access through when both do.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...spec.types import Resources

    Property = tuple[str, str, object]
    Rule = tuple[bool, str, int, int, str]  # allow, type, major, minor (-1: any), access
    Device = tuple[str, int, int]  # one, or all of a major, or all of a type

# F192: what every container may use: the default devices, terminals, and making any node
ALWAYS: tuple[Rule, ...] = (
    (True, "c", -1, -1, "m"),
    (True, "b", -1, -1, "m"),
    (True, "c", 1, 3, "rwm"),
    (True, "c", 1, 5, "rwm"),
    (True, "c", 1, 7, "rwm"),
    (True, "c", 1, 8, "rwm"),
    (True, "c", 1, 9, "rwm"),
    (True, "c", 5, 0, "rwm"),
    (True, "c", 5, 2, "rwm"),
    (True, "c", 136, -1, "rwm"),
)

FAMILIES = {"c": "char", "b": "block"}
ALL = "rwm"
WORDS = ("", "r", "w", "rw", "m", "rm", "wm", ALL)  # an access, by its bits
BITS = {word: bits for bits, word in enumerate(WORDS)}
OPEN: list[Property] = [("DeviceAllow", "a(ss)", []), ("DevicePolicy", "s", "auto")]
NOBODY = "linux.resources.devices: nothing restricts devices "
UNPRIVILEGED, NO_CGROUP = NOBODY + "here: only root of the host can", NOBODY + "without cgroups"


def ordered(resources: Resources) -> list[Rule]:
    """Return the rules in the order in which they count, the last the most; empty when there are none.

    What is always allowed stands before them, and after each that is about every device.
    """
    rules: list[Rule] = []
    for rule in resources.get("devices") or ():
        allow, kind, major, minor = rule["allow"], rule.get("type") or "a", rule.get("major", -1), rule.get("minor", -1)
        access = "".join([letter for letter in ALL if letter in (rule.get("access") or ALL)])
        about_all, whole = kind not in FAMILIES and major < 0 and minor < 0, access == ALL
        if about_all and whole:
            rules = []  # nothing of those before it is left
        elif not rules:
            rules = [*ALWAYS]
        if whole and not about_all and not allow:
            access = "rw"  # its node may be made all the same, as any: docker denies every container /dev/fuse so
        rules.append((allow, kind, major, minor, access))
        if about_all:
            rules += ALWAYS
    return rules


def grants(rules: list[Rule]) -> tuple[dict[Device, str], bool]:
    """Return what each device may do for DeviceAllow=, and whether that is all there is to say."""
    decided: dict[Device, int] = {("c", -1, -1): 0, ("b", -1, -1): 0}
    exact = True
    for allow, kind, major, minor, access in rules:
        if major < 0 <= minor:  # one minor number of every major: no entry says so
            exact = False
            minor = -1
            if not allow:
                continue
        bits = BITS[access]
        for family in (kind,) if kind in FAMILIES else FAMILIES:
            device = (family, major, minor)
            if device not in decided:
                decided[device] = decided[_above(device, decided)]
            # a rule counts for the devices it names and for each among them that has been named before
            for one in (device,) if minor >= 0 else [one for one in decided if _within(one, device)]:
                decided[one] = decided[one] | bits if allow else decided[one] & ~bits
    told = {}
    for device, own in decided.items():
        wider = _from_wider(device, decided)
        exact = exact and not wider & ~own
        if own & ~wider:
            told[device] = WORDS[own | wider]
    return told, exact


def _above(device: Device, decided: dict[Device, int]) -> Device:
    """Return the narrowest of those decided that `device` is one of."""
    family, major, minor = device
    return (family, major, -1) if minor >= 0 and (family, major, -1) in decided else (family, -1, -1)


def _from_wider(device: Device, decided: dict[Device, int]) -> int:
    """Return what a device gets by the entries for more devices than this one."""
    if device[1] < 0:
        return 0
    above = _above(device, decided)
    return decided[above] | _from_wider(above, decided)


def _within(device: Device, wider: Device) -> bool:
    """Is `device` one of `wider`, a major or a type."""
    return device[0] == wider[0] and wider[1] in (-1, device[1])


def properties(resources: Resources) -> list[Property]:
    """Return the device policy.

    The list is emptied before the policy and filled after it: in any other order systemd sees a change of policy
    with the old list and asks for a daemon-reload.
    """
    rules = ordered(resources)
    if not rules:
        return []
    told, _ = grants(rules)
    if all(told.get((family, -1, -1)) == ALL for family in FAMILIES):
        return OPEN
    entries = [(_named(device), access) for device, access in told.items()]
    return [("DeviceAllow", "a(ss)", []), ("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", entries)]


def _named(device: Device) -> str:
    """Return a device as DeviceAllow= names it."""
    family, major, minor = FAMILIES[device[0]], device[1], device[2]
    if minor >= 0:
        return f"/dev/{family}/{major}:{minor}"
    return f"{family}-{major}" if major >= 0 else f"{family}-*"


def restricts(resources: Resources) -> bool:
    """Do the rules keep anything from a container."""
    return properties(resources) not in ([], OPEN) or not grants(ordered(resources))[1]


def unsaid(resources: Resources, manager: str) -> list[Rule]:
    """Return the rules for a program of ours: none where systemd keeps the cgroup and DeviceAllow= says them all."""
    rules = ordered(resources)
    if manager == "systemd":
        return [] if grants(rules)[1] else rules
    return rules if manager == "cgroupfs" and restricts(resources) else []


def enforced(resources: Resources, by_whom: bool) -> Resources:
    """Return the limits without device rules where nobody enforces them: a user's systemd takes and forgets them."""
    if by_whom:
        return resources
    return {section: value for section, value in resources.items() if section != "devices"}  # type: ignore[return-value]


def describe(rule: Rule) -> str:
    """Say a rule: `deny c 10:229 rw`."""
    allow, kind, major, minor, access = rule
    numbers = ":".join("*" if number < 0 else str(number) for number in (major, minor))
    return f"{'allow' if allow else 'deny'} {kind} {numbers} {access}"

"""The values of unit properties as unit files have them, and `systemd-run --property` (systemd.syntax(7))."""

from __future__ import annotations

from .. import signalname
from ..errors import Error
from .limits.numbers import INFINITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Address = tuple[int, bytes, int]
    Bind = tuple[int, int, int, int]

BOOLEANS = {
    **dict.fromkeys(("1", "yes", "y", "true", "t", "on"), True),
    **dict.fromkeys(("0", "no", "n", "false", "f", "off"), False),
}

# systemd.time(7), in microseconds; a year is 365.25 days and a month a twelfth of it
SECOND = 1_000_000
DAY = 86_400 * SECOND
UNITS = {
    **dict.fromkeys(("usec", "us", "µs", "μs"), 1),
    **dict.fromkeys(("msec", "ms"), 1_000),
    **dict.fromkeys(("seconds", "second", "sec", "s", ""), SECOND),
    **dict.fromkeys(("minutes", "minute", "min", "m"), 60 * SECOND),
    **dict.fromkeys(("hours", "hour", "hr", "h"), 3_600 * SECOND),
    **dict.fromkeys(("days", "day", "d"), DAY),
    **dict.fromkeys(("weeks", "week", "w"), 7 * DAY),
    **dict.fromkeys(("months", "month", "M"), 1461 * DAY // 48),
    **dict.fromkeys(("years", "year", "y"), 365 * DAY + DAY // 4),
}
DIGITS = frozenset("0123456789")

INET, INET6 = 2, 10
EVERYONE: list[Address] = [(INET, bytes(4), 0), (INET6, bytes(16), 0)]
# systemd.resource-control(5), IPAddressAllow=
GROUPS: dict[str, list[Address]] = {
    "any": EVERYONE,
    "localhost": [(INET, b"\x7f\0\0\0", 8), (INET6, bytes(15) + b"\1", 128)],
    "link-local": [(INET, b"\xa9\xfe\0\0", 16), (INET6, b"\xfe\x80" + bytes(14), 64)],
    "multicast": [(INET, b"\xe0\0\0\0", 4), (INET6, b"\xff" + bytes(15), 8)],
}
FAMILIES = {"ipv4": INET, "ipv6": INET6}
PROTOCOLS = {"tcp": 6, "udp": 17}
LARGEST_SHARE = (1 << 32) - 1


def flag(text: str) -> bool:
    """Return a boolean. Raises ValueError, as all of these do."""
    try:
        return BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError from None


def line(text: str) -> str:
    """Return a text; systemd writes it into the unit's file, where the next line would be a setting."""
    if not text or not text.isprintable():
        raise ValueError
    return text


def signal(text: str) -> int:
    """Return the number of a signal."""
    try:
        return signalname.number(text)
    except Error:
        raise ValueError from None


def time(text: str) -> int:
    """Return a span of time in microseconds: `infinity`, `90` (seconds), `1min 30s`, `1.5h`."""
    if text == "infinity":
        return INFINITY
    words = text.split()
    total, rest = 0, "".join(words)
    if not rest or any(one[-1] in DIGITS and other[0] in DIGITS for one, other in zip(words, words[1:])):
        raise ValueError
    while rest:
        count = next((at for at, c in enumerate(rest) if c not in DIGITS and c != "."), len(rest))
        size = next((at for at, c in enumerate(rest[count:]) if c in DIGITS), len(rest) - count)
        total += _part(rest[:count], rest[count : count + size])
        rest = rest[count + size :]
    if total >= INFINITY:
        raise ValueError
    return total


def _part(number: str, unit: str) -> int:
    whole, _, fraction = number.partition(".")
    if unit not in UNITS or not (whole + fraction) or "." in fraction or len(number) > 20:
        raise ValueError
    per = UNITS[unit]
    return int(whole or "0") * per + int(fraction or "0") * per // int("1" + "0" * len(fraction))


def names(text: str) -> list[str]:
    """Return names between spaces; none at all is no value: systemd has aborted on an empty list (systemd #20933)."""
    found = [line(word) for word in text.split()]
    if not found:
        raise ValueError
    return found


def share(text: str) -> int:
    """Return a percentage, of two decimals at the most, on the scale of 32 bits."""
    whole, _, fraction = text.removesuffix("%").partition(".")
    digits = whole + fraction.ljust(2, "0")
    if text[-1:] != "%" or not whole or len(fraction) > 2 or not set(digits) <= DIGITS or int(digits) > 10_000:
        raise ValueError
    return (int(digits) * LARGEST_SHARE + 5_000) // 10_000


def addresses(text: str) -> list[Address]:
    """Return networks (`10.0.0.0/8`, `::1`) and the groups that systemd has a word for."""
    from ipaddress import ip_network  # for those who ask for it

    found: list[Address] = []
    for word in names(text):
        if word in GROUPS:
            found += GROUPS[word]
        else:
            network = ip_network(word, strict=False)
            family = INET if network.version == 4 else INET6
            found.append((family, network.network_address.packed, network.prefixlen))
    return found


def binds(text: str) -> list[Bind]:
    """Return of each `[ipv4:|ipv6:][tcp:|udp:]any|PORT[-PORT]` family, protocol, how many ports, and the first."""
    return [_bind(word) for word in names(text)]


def _bind(text: str) -> Bind:
    *before, ports = text.split(":")
    family = FAMILIES[before.pop(0)] if before and before[0] in FAMILIES else 0
    protocol = PROTOCOLS[before.pop(0)] if before and before[0] in PROTOCOLS else 0
    if before:
        raise ValueError
    if ports == "any":
        return family, protocol, 0, 0
    first, dash, last = ports.partition("-")
    low = _port(first)
    high = _port(last) if dash else low
    if high < low:
        raise ValueError
    return family, protocol, high - low + 1, low


def _port(text: str) -> int:
    if not 0 < len(text) < 6 or not set(text) <= DIGITS or not 0 < int(text) < 1 << 16:
        raise ValueError
    return int(text)


def interfaces(text: str) -> tuple[bool, list[str]]:
    """Return whether these network interfaces are all that is allowed, or with `~` all that is not."""
    return text[:1] != "~", names(text.removeprefix("~"))


# by the forms of scopetable.py
READERS: dict[str, Callable[[str], object]] = {
    "flag": flag,
    "text": line,
    "word": line,
    "signal": signal,
    "time": time,
    "names": names,
    "share": share,
    "addresses": addresses,
    "binds": binds,
    "interfaces": interfaces,
}

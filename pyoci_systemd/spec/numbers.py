"""Lists of small numbers in the manner of cpuset(7): `0-3,7`."""

from __future__ import annotations

MOST_CPUS, MOST_NODES = 8192, 1024  # CONFIG_NR_CPUS and 1 << CONFIG_NODES_SHIFT at their largest on x86-64


def bits(text: str, most: int) -> int:
    """Return the numbers of a list, all below `most`, as a bit mask; -1 when it is no such list."""
    mask = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if len(part) > 20 or not all(word.isascii() and word.isdigit() for word in (first, last if dash else "0")):
            return -1
        low, high = int(first), int(last or first)
        if low > high or high >= most:
            return -1
        mask |= ((1 << (high - low + 1)) - 1) << low
    return mask


def said(mask: int) -> str:
    """Return a bit mask as such a list."""
    numbers = [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
    firsts = [n for n in numbers if not n or not mask >> (n - 1) & 1]
    lasts = [n for n in numbers if not mask >> (n + 1) & 1]
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in zip(firsts, lasts))

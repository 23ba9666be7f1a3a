"""Addresses between a virtual machine and its host (vsock(7)), as systemd.socket(5) has them: `vsock:CID:PORT`."""

from __future__ import annotations

PREFIX = "vsock:"
ANY = (1 << 32) - 1  # VMADDR_CID_ANY, which no CID means too; as a port it would be the kernel's to choose


def parse(place: str) -> tuple[int, int] | None:
    """Return context id and port; None for what is no such address."""
    words = place.removeprefix(PREFIX).split(":")
    if not place.startswith(PREFIX) or len(words) != 2:
        return None
    cid, port = (_number(word) for word in (words[0] or str(ANY), words[1]))
    return (cid, port) if 0 <= cid <= ANY and 0 < port < ANY else None


def _number(word: str) -> int:
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 10 else -1

"""Ops as bytes, for the init; the other end is in init.c."""

from __future__ import annotations

from _struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class Op(Protocol):
        """What is encoded: a code, a type letter for each value, and the values."""

        @property
        def code(self) -> int: ...
        @property
        def signature(self) -> str: ...
        def values(self) -> list[object]: ...


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError("NUL in a string for the init")
    return data


def _argument(kind: str, value: object) -> bytes:
    """Return one value: `i` 64 bits, `s` length and text and NUL, `b` length and bytes, `v` count, size and texts."""
    if kind == "i":
        assert isinstance(value, int)
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f"{value} is no number of 64 bits")
        return pack("=q", value if value < 1 << 63 else value - (1 << 64))
    if kind == "s":
        assert isinstance(value, str)
        data = _text(value)
        return pack("=I", len(data)) + data + b"\0"
    if kind == "b":
        assert isinstance(value, bytes)
        return pack("=I", len(value)) + value
    assert isinstance(value, list)
    joined = b"".join([_text(item) + b"\0" for item in value])
    return pack("=II", len(value), len(joined)) + joined


def encode(ops: Iterable[Op]) -> bytes:
    """Return the message for the init: the count, the size of what follows, and the ops one after another.

    Raises ValueError for a string with a NUL in it.
    """
    parts = []
    count = 0
    for op in ops:
        count += 1
        parts.append(pack("=I", op.code))
        parts += [_argument(kind, value) for kind, value in zip(op.signature, op.values())]
    body = b"".join(parts)
    return pack("=II", count, len(body)) + body

"""Text in columns."""

from __future__ import annotations

from ..errors import printable


def aligned(rows: list[list[str]]) -> str:
    """Return the rows, titles first, with each column as wide as its widest cell."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n" for row in rows)

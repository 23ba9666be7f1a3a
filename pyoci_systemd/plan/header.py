"""Write the C side of the op table: `python3 -m pyoci_systemd.plan.header FILE`."""

from __future__ import annotations

import sys

from .ops import TABLE


def header() -> str:
    """Return ops.h: one `OP(name, signature)` a line, in the order of the codes."""
    lines = ["/* made from plan/ops.py by plan/header.py */", "#define OPS(OP) \\"]
    lines += [f'\tOP({op.name}, "{op.signature}") \\' for op in TABLE]
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write(header())

"""Write the C side of the op table: `python3 -m pyoci_systemd.plan.header FILE`."""

from __future__ import annotations

import re
import sys

from .ops import TABLE, Op


def header() -> str:
    """Return ops.h: one `OP(name, signature)` a line, in the order of the codes, and the ops that are system calls."""
    lines = ["/* made from plan/ops.py by plan/header.py */", "#define OPS(OP) \\"]
    lines += [f'\tOP({op.name}, "{op.signature}") \\' for op in TABLE]
    lines += ["", "#define SYSTEM_CALLS \\"]
    lines += [f"\tOP({op.name}) {{ return {call(op)}; }} \\" for op in TABLE if op.syscall or op.function]
    return "\n".join(lines) + "\n\n"


def call(op: type[Op]) -> str:
    """Return the one call that an op is, with each field as the argument of the op that it is."""
    name, mark, arguments = (op.function or op.syscall).partition("(" if op.function else ",")
    for index, (field, kind) in enumerate(zip(op.fields, op.signature)):
        argument = {"i": f"a[{index}].number", "v": f"&a[{index}]"}.get(kind, f"a[{index}].text")
        arguments = re.sub(rf"\b{field}\.length\b", f"a[{index}].length", arguments)
        arguments = re.sub(rf"(?<![\w.]){field}\b", argument, arguments)
    if op.function:
        return f"{name}{mark}{arguments}"
    made = f"syscall(SYS_{name}{mark}{arguments})"
    if op.takes:
        return f"keep((int){made})"
    tolerated = f" && errno != {op.tolerates}" if op.tolerates else ""
    return f"{made} < 0{tolerated} ? -1 : 0"


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write(header())

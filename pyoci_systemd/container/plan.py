"""`pyoci plan`: what would be done, in sentences; nothing is."""

from __future__ import annotations

import sys

from ..jsonio import dumps
from ..plan.limits.devices import describe
from ..plan.limits.numbers import INFINITY
from .creation import Creation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.ops import Op
    from ..plan.plan import Plan
    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Print the plan of a bundle. Returns the exit status; raises Error."""
    if not options.id:
        options.id = "container"
    options.console_socket = options.pid_file = ""
    options.sockets = []
    creation = Creation(settings, options, wait_for_start=True)
    creation.load_and_plan()
    made = creation.made
    if options.json:
        sys.stdout.write(dumps(as_json(made), 2) + "\n")
    else:
        sys.stdout.write(as_text(made))
    return 0


def said(value: object) -> str:
    """Return the value of a unit property as systemctl show would print it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return ranges(value)
    if value == INFINITY:
        return "infinity"
    if isinstance(value, (list, tuple)):
        return " ".join(said(item) for item in value)
    return str(value)


def ranges(mask: bytes) -> str:
    """Return the numbers of the bits of `mask`, lowest byte first, as `0-2 7`."""
    bits = [bit for bit in range(8 * len(mask)) if mask[bit // 8] >> bit % 8 & 1]
    first = [bit for bit in bits if bit - 1 not in bits]
    last = [bit for bit in bits if bit + 1 not in bits]
    return " ".join(str(low) if low == high else f"{low}-{high}" for low, high in zip(first, last))


def as_text(made: Plan) -> str:
    """Return the plan as prose."""
    lines = []
    if made.unit:
        lines += [f"start the scope `{made.unit}` with"]
        lines += [f"    {name} = {said(value)}" if name != "PIDs" else "    PIDs = the container's first process"
                  for name, _, value in made.properties]  # fmt: skip
    lines += where(made)
    if made.device_rules:
        rules = ", ".join(describe(rule) for rule in made.device_rules)
        lines += [f"have a program decide on devices, by the last rule that concerns an access: {rules}"]
    if made.machine:
        lines += [made.machine.describe()]
    lines += ["the init will"]
    lines += [f"    {op.describe()}" for op in made.ops]
    if made.outside:
        lines += ["a second init, outside the user namespace, will"]
        lines += [f"    {op.describe()}" for op in made.outside]
    lines += [f"warning: {warning}" for warning in made.warnings]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def where(made: Plan) -> list[str]:
    """Return the cgroups that are made, but for the one that every scope gets."""
    place = made.placement
    lines = [f"make the cgroup `/{place.path}`"] if place.path else []
    if made.unit and place.subgroup != "container":
        lines.append(f"make the cgroup `{place.subgroup}` below it" if place.subgroup else "make no cgroup below it")
    if place.delegated:
        lines.append(f"make the cgroup `{place.delegated}` below that, for the container to divide")
    return lines


def as_json(made: Plan) -> dict[str, object]:
    """Return the plan as data."""

    def plain(value: object) -> object:
        if isinstance(value, bytes):
            return value.hex()
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    def steps(ops: list[Op]) -> list[dict[str, object]]:
        return [
            {"op": op.name, "does": op.describe(), **{field: plain(getattr(op, field)) for field in op.fields}}
            for op in ops
        ]

    return {
        "unit": made.unit,
        "manager": made.manager,
        "machine": {field: getattr(made.machine, field) for field in made.machine.fields} if made.machine else None,
        "cgroups": {field: getattr(made.placement, field) for field in made.placement.fields},
        "rootfs": made.rootfs,
        "properties": [{"name": n, "type": t, "value": plain(v)} for n, t, v in made.properties],
        "device_rules": [describe(rule) for rule in made.device_rules],
        "ops": steps(made.ops),
        "outside": steps(made.outside),
        "warnings": made.warnings,
    }

"""Write the validator from the schema: `python3 -m pyoci_systemd.spec.generate OUTPUT`. Run at build.

The product is plain nested Python (no interpreter of schemas, no regular expressions): 8 us for the default config,
where jsonschema takes 1 ms after an import of 60 to 90 ms. A keyword this file does not know is an error, never
skipped.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from .schema import whole

Node = dict[str, Any]

HEADER = '''"""Generated from schema/*.json by generate.py: change those."""

from __future__ import annotations

from . import formats
'''

# entry points: function, the part of the schema it holds a value to, what it is
ENTRIES = (
    ("valid", "config", "config.json"),
    ("valid_process", "process", "the process of `exec --process`"),
    ("valid_mounts", "mounts", "the mounts of `mounts add` and `mounts remove`"),
    ("valid_resources", "resources", "the resources of `update --resources`"),
)

# each pattern of the schema as the Python expression that is true when it does not match
PATTERNS = {
    r"^[^\u0000]*$": r'"\0" in {0}',
    r"^[^\u0000]+$": r'not {0} or "\0" in {0}',
    r"^/[^\u0000]*$": r'{0}[:1] != "/" or "\0" in {0}',
    r"^[^\u0000\n]*(?![\s\S])": "not formats.line({0})",
    r"^[-0-9, ]*(?![\s\S])": "not formats.cpus({0})",
    r"^[rwm]*(?![\s\S])": "not formats.access({0})",
    r"^[1-9][0-9]*[KMG]B(?![\s\S])": "not formats.page_size({0})",
    r"^MB:[^\u0000\n]*(?![\s\S])": "not formats.memory_bandwidth({0})",
    r"^(?!\.{1,2}(?![\s\S]))[!-.0-9;-~]{1,15}(?![\s\S])": "not formats.interface({0})",
    r"^[a-z0-9_]+(\.[A-Za-z0-9_]+)+(?![\s\S])": "not formats.unified_key({0})",
    r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}"
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(?![\s\S])": "not formats.semver({0})",
}

IGNORED = {"title", "description", "$defs", "$schema"}
KEYWORDS = {
    "string": {"pattern", "enum", "maxLength"},
    "integer": {"minimum", "maximum"},
    "boolean": set(),
    "array": {"items", "minItems"},
    "object": {"properties", "required", "propertyNames", "additionalProperties"},
}


class Generator:
    """Turns one schema into functions: one for each `$ref` to an object or a list, the rest inline."""

    def __init__(self, schema: Node) -> None:
        self.schema = schema
        self.functions: dict[str, list[str]] = {}
        self.sets: dict[str, str] = {}

    def module(self) -> str:
        """Return the source of the whole module."""
        entries: list[str] = []
        for name, start, what in ENTRIES:
            function = self.function(f"#/$defs/{start}")
            entries += ["", "", f"def {name}(value: object) -> bool:"]
            entries += [f'    """Does `value` satisfy the schema of {what}?"""', f"    return {function}(value)"]
        sets = [f"{name} = frozenset(({members}))" for members, name in self.sets.items()]
        bodies = [line for body in self.functions.values() for line in ["", "", *body]]
        return "\n".join([HEADER, *sets, *bodies, *entries]) + "\n"

    def target(self, ref: str) -> Node:
        node: Any = self.schema
        for step in ref.removeprefix("#/").split("/"):
            node = node[step]
        if not isinstance(node, dict):
            raise ValueError(f"{ref} leads to no schema")
        return node

    def function(self, ref: str) -> str:
        """Return the name of the function for `ref`, made on first use."""
        name = "_" + ref.removeprefix("#/$defs/").replace("/$defs/", "_").replace("/", "_")
        if name not in self.functions:
            self.functions[name] = []  # the name is taken before its body asks for it: schemas may be recursive
            body = self.checks(self.target(ref), "v0", 1)
            self.functions[name] = [f"def {name}(v0: object) -> bool:", *body, "    return True"]
        return name

    def checks(self, node: Node, value: str, depth: int) -> list[str]:
        """Return the lines that leave with False when `value` does not satisfy `node`, indented by `depth`."""
        if "$ref" in node:
            self.know(node, {"$ref"})
            target = self.target(node["$ref"])
            if "$ref" in target or not {"object", "array"} & set(kinds(target)):
                return self.checks(target, value, depth)
            return refuse([f"not {self.function(node['$ref'])}({value})"], depth)
        types = kinds(node)
        if types[1:] not in ([], ["null"]):
            raise ValueError(f"type must be one type, perhaps with null: {node}")
        kind = types[0]
        self.know(node, {"type"} | KEYWORDS[kind])
        if types[1:]:
            guard = [f"{'    ' * depth}if {value} is not None:"]
            return guard + self.typed(kind, node, value, depth + 1)
        return self.typed(kind, node, value, depth)

    def know(self, node: Node, keywords: set[str]) -> None:
        unknown = node.keys() - keywords - IGNORED
        if unknown:
            raise ValueError(f"keyword {', '.join(sorted(unknown))} is not translated: {node}")

    def typed(self, kind: str, node: Node, value: str, depth: int) -> list[str]:
        if kind == "boolean":
            return refuse([f"{value} is not True and {value} is not False"], depth)
        if kind == "integer":
            low, high = node["minimum"], node["maximum"]
            return refuse([f"type({value}) is not int", f"not {low} <= {value} <= {high}"], depth)
        if kind == "string":
            return refuse([f"type({value}) is not str", *self.string(node, value)], depth)
        if kind == "array":
            return self.array(node, value, depth)
        return self.object(node, value, depth)

    def string(self, node: Node, value: str) -> list[str]:
        wrong = []
        if "maxLength" in node:
            wrong.append(f"len({value}) > {node['maxLength']}")
        if "enum" in node:
            members = "".join(f'"{word}", ' for word in node["enum"])
            name = self.sets.setdefault(members, f"_WORDS_{len(self.sets)}")
            wrong.append(f"{value} not in {name}")
        if "pattern" in node:
            wrong.append(PATTERNS[node["pattern"]].format(value))
        return wrong

    def array(self, node: Node, value: str, depth: int) -> list[str]:
        wrong = [f"type({value}) is not list"]
        if "minItems" in node:
            wrong.append(f"len({value}) < {node['minItems']}")
        item = inner(value)
        return [
            *refuse(wrong, depth),
            f"{'    ' * depth}for {item} in {value}:",
            *self.checks(node["items"], item, depth + 1),
        ]

    def object(self, node: Node, value: str, depth: int) -> list[str]:
        indent, member = "    " * depth, inner(value)
        lines = refuse([f"type({value}) is not dict"], depth)
        missing = [f'"{key}" not in {value}' for key in node.get("required", ())]
        if missing:
            lines += refuse(missing, depth)
        for key, child in node.get("properties", {}).items():
            if key in node.get("required", ()):
                lines += [f'{indent}{member} = {value}["{key}"]', *self.checks(child, member, depth)]
            else:
                lines += [f'{indent}if "{key}" in {value}:', f'{indent}    {member} = {value}["{key}"]']
                lines += self.checks(child, member, depth + 1)
        if "additionalProperties" in node:
            if "properties" in node:
                raise ValueError(f"properties beside additionalProperties is not translated: {node}")
            key = f"key_of_{member}"
            lines.append(f"{indent}for {key}, {member} in {value}.items():")
            lines += self.checks(node["propertyNames"], key, depth + 1)
            lines += self.checks(node["additionalProperties"], member, depth + 1)
        return lines


def kinds(node: Node) -> list[str]:
    """Return the types of `node` as a list, the real one before null."""
    types = node["type"]
    return [types] if isinstance(types, str) else list(types)


def inner(value: str) -> str:
    """Return the name of what is held by `value`: `v1` is held by `v0`, so no name is used twice on the way down."""
    return f"v{int(value[1:]) + 1}"


def refuse(wrong: list[str], depth: int) -> list[str]:
    """Return the lines that leave with False when one of the conditions `wrong` holds."""
    indent = "    " * depth
    return [f"{indent}if {' or '.join(wrong)}:", f"{indent}    return False"]


def main(argv: list[str]) -> int:
    """Write the validator to the file that `argv` names."""
    if len(argv) != 1:
        print("usage: python3 -m pyoci_systemd.spec.generate OUTPUT", file=sys.stderr)
        return 2
    source = Generator(whole()).module()
    temporary = f"{argv[0]}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(source)
    os.replace(temporary, argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The one statement of what a valid config.json is: runtime-spec 1.3 for Linux, as JSON schema (draft 2020-12).

Cold: the judge and the generator of the validator read it, at refusal and at build.
"""

from __future__ import annotations

import json
from typing import Any

FILES = ("config", "process", "mount", "mounts", "hook", "linux", "resources", "seccomp", "types")


def whole(start: str = "config") -> dict[str, Any]:
    """Return the schema of `start` (one of `FILES`) with every file in its `$defs`: nothing is left to fetch.

    A reference `types.json#/$defs/uint32` becomes `#/$defs/types/$defs/uint32`.
    """
    directory = __path__[0]
    parts = {}
    for name in FILES:
        with open(f"{directory}/{name}.json", encoding="utf-8") as file:
            parts[name] = _inward(json.load(file), name)
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "$ref": f"#/$defs/{start}", "$defs": parts}


def _inward(node: Any, home: str) -> Any:
    """Return `node` of the file `home` with its references turned to the `$defs` of the whole."""
    if isinstance(node, list):
        return [_inward(item, home) for item in node]
    if not isinstance(node, dict):
        return node
    turned = {key: _inward(value, home) for key, value in node.items() if key != "$schema"}
    if isinstance(node.get("$ref"), str):
        file, _, inside = node["$ref"].partition("#")
        turned["$ref"] = f"#/$defs/{file.removesuffix('.json') or home}{inside}"
    return turned

"""Says in one line what is wrong with a document the validator has refused. Cold: imports jsonschema (90 ms)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..errors import SpecError, quoted
from ..sitepath import enable
from .schema import whole

MORE = 5  # other faults shown in the hint
MANY = 10  # allowed words shown in a message

NOUNS = {
    "array": "a list",
    "object": "an object",
    "string": "a string",
    "integer": "an integer",
    "boolean": "true or false",
    "null": "null",
}

# what a pattern asks for, in words
PATTERNS = {
    r"^[^\u0000]*$": "a string without NUL",
    r"^[^\u0000]+$": "a string that is not empty and without NUL",
    r"^/[^\u0000]*$": "an absolute path",
    r"^[^\u0000\n]*(?![\s\S])": "one line without NUL",
    r"^[-0-9, ]*(?![\s\S])": "a list of numbers such as `0-3,7`",
    r"^[rwm]*(?![\s\S])": "made of `r`, `w` and `m`",
    r"^[1-9][0-9]*[KMG]B(?![\s\S])": "a size such as `2MB`",
    r"^MB:[^\u0000\n]*(?![\s\S])": "one line that begins with `MB:`",
    r"^(?!\.{1,2}(?![\s\S]))[!-.0-9;-~]{1,15}(?![\s\S])": "a name of a network interface",
    r"^[a-z0-9_]+(\.[A-Za-z0-9_]+)+(?![\s\S])": "a file of a cgroup such as `memory.high`",
}
VERSION = "a version such as `1.3.0`"


@contextmanager
def without_network() -> Iterator[None]:
    """Spare jsonschema what it would fetch schemas from the network with: ours are all here.

    It is a quarter of the time that its import takes (20 to 40 ms).
    """
    name = "urllib.request"
    ours = sys.modules.setdefault(name, ModuleType(name))
    ours.__dict__.setdefault("urlopen", None)
    try:
        yield
    finally:
        if ours.urlopen is None:
            del sys.modules[name]


def explain(document: object, name: str, part: str = "config") -> SpecError:
    """Return the error for `document`, which `name` names and which the schema of `part` does not allow.

    The message has the JSON path, what was found and what is allowed; the hint lists other faults.
    """
    try:
        found = faults(document, part)
    except ImportError:
        hint = "install python3-jsonschema to be told what is wrong"
        return SpecError(f"{name}: not valid, and the Python module `jsonschema` that knows why is missing", hint=hint)
    if not found:  # an optional section may be null, but is no document
        return SpecError(f"{name}: the document must be an object, not {shown(document)}")
    first, *others = [sentence(error) for error in found]
    hint = "\n".join(f"also: {text}" for text in others[:MORE])
    return SpecError(f"{name}: {first}", hint=hint)


def faults(document: object, part: str = "config") -> list[Any]:
    """Return jsonschema's errors, the one to tell first in front: the deepest, then the first of the document.

    Raises ImportError when jsonschema cannot be found.
    """
    return sorted(judge(part).iter_errors(document), key=lambda error: -len(error.absolute_path))


def judge(part: str = "config") -> Any:
    """Return the jsonschema validator of `part`. Raises ImportError."""
    enable()
    with without_network():
        from jsonschema import Draft202012Validator, validators

    # jsonschema takes 1.0 for an integer; clients written in Go, and our plan, do not
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extend: Any = validators.extend
    return extend(Draft202012Validator, type_checker=checker)(whole(part))


def sentence(error: Any) -> str:
    """Return a jsonschema error as `PATH must be …`."""
    where, value, keyword, wanted = list(error.absolute_path), error.instance, error.validator, error.validator_value
    if "propertyNames" in error.absolute_schema_path:
        return f"{path(where) or 'document'}: key {quoted(value)} must be {described(keyword, wanted, error.schema)}"
    if keyword == "required":
        # one error for each missing member, and only its message names which
        missing = next(key for key in wanted if key not in value and repr(key) in error.message)
        return f"{path([*where, missing])} is required"
    if "enum" in error.schema:
        return f"{path(where)}: {shown(value)} is not one of {listed(error.schema['enum'])}"
    subject = path(where) or "the document"
    if keyword == "minItems":
        return f"{subject} must not be empty"
    return f"{subject} must be {described(keyword, wanted, error.schema)}, not {shown(value)}"


def described(keyword: str, wanted: Any, schema: Any) -> str:
    """Return what a keyword of the schema asks for, in words."""
    if keyword == "maxLength":
        return f"at most {wanted} characters long"
    if "pattern" in schema:
        words = PATTERNS.get(schema["pattern"], VERSION)
        # to one who wrote a number, that there is no NUL is beside the point
        return "a string" if keyword == "type" and words.startswith(("a string", "one line")) else words
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if "integer" in kinds:
        return f"an integer between {schema['minimum']} and {schema['maximum']}"
    return NOUNS[kinds[0]]


def listed(words: list[str]) -> str:
    """Return `words` in a line, the first of them when they are many."""
    if len(words) > MANY:
        words = [*words[: MANY - 1], f"{len(words) - MANY + 1} more"]
    return ", ".join(words)


def path(steps: list[Any]) -> str:
    """Return a JSON path as people write it: `linux.namespaces[2].type`."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isascii() and step.replace("_", "").isalnum():
            text += f".{step}" if text else step
        else:
            text += f"[{quoted(step)}]"
    return text


def shown(value: object) -> str:
    """Return a value as the reader wrote it, or what it is when that would be long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float):
        return f"{value}" if isinstance(value, float) or abs(value) < 10**24 else "a longer number"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if value else "an empty object"

"""Annotations of the form `org.systemd.property.NAME: VALUE`: a typed allow-list, never a way round the plan."""

from __future__ import annotations

from ..errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config

    Property = tuple[str, str, object]

PREFIX = "org.systemd.property."

# systemd.unit(5), systemd.scope(5), systemd.kill(5): what may be set, and its D-Bus type. Whatever says which
# processes, cgroup or slice a unit has is the plan's alone (CVE-2024-3154). Nor is there anything by which the start
# of a unit starts another, as Wants=poweroff.target would.
ALLOWED = {
    "After": "as",
    "Before": "as",
    "CollectMode": "s",
    "DefaultDependencies": "b",
    "Description": "s",
    "FinalKillSignal": "i",
    "KillMode": "s",
    "KillSignal": "i",
    "PartOf": "as",
    "RuntimeMaxUSec": "t",
    "SendSIGHUP": "b",
    "SendSIGKILL": "b",
    "TimeoutStopUSec": "t",
}


def _number(text: str) -> int | None:
    """Return the integer of a GVariant text such as `uint64 5` or `5`."""
    words = text.split()
    if len(words) == 2 and words[0] in ("int16", "uint16", "int32", "uint32", "int64", "uint64"):
        words = words[1:]
    digits = words[0].removeprefix("-") if len(words) == 1 else ""
    return int(words[0]) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None


def _string(text: str) -> str | None:
    """Return the string of a quoted GVariant text. Escapes are not understood and refused, and so are newlines:

    systemd writes the string into the unit's file as it is, where the next line would be a setting.
    """
    quote, inner = text[:1], text[1:-1]
    quoted = len(text) > 1 and quote == text[-1] and quote in "'\"" and quote not in inner
    return inner if quoted and "\\" not in inner and inner.isprintable() else None


def _value(signature: str, text: str) -> object | None:
    """Return `text` as a value of the type, None when it is none."""
    if signature == "b":
        return {"true": True, "false": False}.get(text)
    if signature == "s":
        return _string(text)
    if signature == "as":
        if text[:1] != "[" or text[-1:] != "]":
            return None
        items = [_string(item.strip()) for item in text[1:-1].split(",")] if text[1:-1].strip() else []
        # an empty list sets nothing, and systemd has aborted on one (systemd #20933)
        return items if items and all(items) else None
    number = _number(text)
    if number is None or not (0 <= number < 1 << 64 if signature == "t" else -(1 << 31) <= number < 1 << 31):
        return None
    return number


def plan(config: Config) -> list[Property]:
    """Return the unit properties that the annotations ask for.

    `NameSec` is understood as `NameUSec` in seconds. Raises SpecError for a property that is not allowed, or a value
    that is not of its type.
    """
    result: list[Property] = []
    for key, text in config.get("annotations", {}).items():
        if not key.startswith(PREFIX):
            continue
        name = key[len(PREFIX) :]
        seconds = name.endswith("Sec") and not name.endswith("USec")
        name = name[:-3] + "USec" if seconds else name
        signature = ALLOWED.get(name)
        if signature is None:
            raise SpecError(f"config.json: annotations: `{key}` must not be set")
        value = _value(signature, text.strip())
        if value is None:
            raise SpecError(f"config.json: annotations: `{key}`: `{text}` is not of the D-Bus type `{signature}`")
        if seconds and isinstance(value, int):
            value *= 1_000_000
            if value >= 1 << 64:
                raise SpecError(f"config.json: annotations: `{key}`: `{text}` is too long a time")
        result.append((name, signature, value))
    return result

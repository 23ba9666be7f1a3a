"""What is asked of the scope by name: a typed allow-list (scopetable.py), never a way round the plan.

Annotations of the form `org.systemd.property.NAME` hold GVariant text, as they do for crun and runc. What follows
`--property` is written as in a unit file, and counts where both name a property.
"""

from __future__ import annotations

from ..errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..spec.types import Config
    from .scopetable import Kind

    Property = tuple[str, str, object]

PREFIX = "org.systemd.property."
STOP_SIGNAL = "org.opencontainers.image.stopSignal"
INTEGERS = ("int16", "uint16", "int32", "uint32", "int64", "uint64")


def plan(config: Config, options: Iterable[str] = ()) -> list[Property]:
    """Return the unit properties that annotations and `--property` options ask for. Raises SpecError."""
    found = [*of_image(config), *of_annotations(config)]
    given = [of_option(text) for text in options]
    named = {name for name, _, _ in given}
    return [entry for entry in found if entry[0] not in named] + given


def of_image(config: Config) -> list[Property]:
    """Return how the image asks to be stopped: by systemd too, at `systemctl stop` and when the host goes down."""
    notes = config.get("annotations", {})
    signal = notes.get(STOP_SIGNAL)
    if not signal or f"{PREFIX}KillSignal" in notes:
        return []
    from .. import signalname
    from ..errors import Error

    try:
        return [("KillSignal", "i", signalname.number(signal))]
    except Error as error:
        raise SpecError(f"config.json: annotations: `{STOP_SIGNAL}`: {error.message}") from None


def of_annotations(config: Config) -> list[Property]:
    """Return what annotations ask for: `NameSec` is `NameUSec` in seconds. Raises SpecError."""
    return [
        _annotated(f"config.json: annotations: `{key}`", key[len(PREFIX) :], text.strip())
        for key, text in config.get("annotations", {}).items()
        if key.startswith(PREFIX)
    ]


def _annotated(where: str, name: str, text: str) -> Property:
    from .scopetable import ANYONE, SIGNATURES, canonical, refusal

    name, seconds = canonical(name)
    kind = ANYONE.get(name)
    if not kind:
        raise SpecError(f"{where}: {refusal(name)}")
    value = _gvariant(kind, text)
    if value is None:
        raise SpecError(f"{where}: `{text}` is not of the D-Bus type `{SIGNATURES[kind.form]}`")
    if seconds and isinstance(value, int):
        value *= 1_000_000
        if value >= 1 << 64:
            raise SpecError(f"{where}: `{text}` is too long a time")
    return name, SIGNATURES[kind.form], worded(where, kind, value)


def of_option(option: str, live: bool = False) -> Property:
    """Return the property of one `NAME=VALUE`; if the unit is `live`, one that may change then. Raises SpecError."""
    from .scopetable import ANYONE, OPERATOR, SIGNATURES, canonical, refusal
    from .unitsyntax import READERS

    name, equals, text = option.partition("=")
    if not equals:
        raise SpecError(f"--property: `{option}` is not NAME=VALUE")
    where = f"--property: `{name}`"
    name, _ = canonical(name)
    kind = ANYONE.get(name) or OPERATOR.get(name)
    if not kind:
        raise SpecError(f"{where}: {refusal(name)}")
    if live and not kind.live:
        raise SpecError(f"{where}: it is fixed when the scope starts")
    try:
        value = READERS[kind.form](text.strip())
    except ValueError:
        raise SpecError(f"{where}: `{text}` is not {SAID[kind.form]}") from None
    return name, SIGNATURES[kind.form], worded(where, kind, value)


SAID = {
    "flag": "`yes` or `no`",
    "text": "a line of text",
    "word": "a word",
    "signal": "a signal",
    "time": "a span of time, such as `90`, `1min 30s` or `infinity`",
    "names": "a list of units",
    "share": "a percentage",
    "addresses": "a list of networks, such as `10.0.0.0/8 localhost`",
    "binds": "a list of ports, such as `tcp:8000-8080`",
    "interfaces": "a list of network interfaces",
}


def worded(where: str, kind: Kind, value: object) -> object:
    """Return a value, which must be one of the words of its kind, if that has any. Raises SpecError."""
    if kind.words and value not in kind.words:
        raise SpecError(f"{where}: `{value}` is none of {', '.join(kind.words)}")
    return value


# -- GVariant text


def _gvariant(kind: Kind, text: str) -> object | None:
    """Return `text` as a value of this kind, None when it is none. What has no simple type is a string: unit syntax."""
    if kind.form == "flag":
        return {"true": True, "false": False}.get(text)
    if kind.form in ("word", "text"):
        return _string(text)
    if kind.form == "names":
        if text[:1] != "[" or text[-1:] != "]":
            return None
        items = [_string(item.strip()) for item in text[1:-1].split(",")] if text[1:-1].strip() else []
        # an empty list sets nothing, and systemd has aborted on one (systemd #20933)
        return items if items and all(items) else None
    if kind.form in ("time", "signal"):
        number = _number(text)
        low, high = (0, 1 << 64) if kind.form == "time" else (-(1 << 31), 1 << 31)
        return number if number is not None and low <= number < high else None
    return _written(kind, _string(text) or "")


def _written(kind: Kind, text: str) -> object | None:
    from .unitsyntax import READERS

    try:
        return READERS[kind.form](text)
    except ValueError:
        return None


def _number(text: str) -> int | None:
    """Return the integer of a GVariant text such as `uint64 5` or `5`."""
    words = text.split()
    if len(words) == 2 and words[0] in INTEGERS:
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

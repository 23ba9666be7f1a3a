"""What is wrong with a JSON document, and where. Cold: `json` may be imported."""

from __future__ import annotations

from .errors import SpecError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

BLANKS = " \t\n\r"
EXCERPT = 72  # columns of the offending line shown in a hint


def explain(name: str, text: str, error: ValueError) -> SpecError:
    """Return the error for a document that the scanner refused with `error`."""
    message, position = getattr(error, "msg", None), getattr(error, "pos", None)
    if isinstance(message, str) and isinstance(position, int):
        return fault(name, text, position, _ours(message))
    for position, reason in odd_tokens(text):
        return fault(name, text, position, reason)
    return SpecError(f"{name}: {error}")


def _ours(message: str) -> str:
    """Return a message of `json` in the style of the house."""
    for theirs, ours in (
        ("Expecting property name enclosed in double quotes", "expecting a key in double quotes"),
        ("Expecting ',' delimiter", "expecting `,`"),
        ("Expecting ':' delimiter", "expecting `:`"),
        ("Expecting value", "expecting a value"),
        ("Illegal trailing comma", "`,` before the end of a list or object"),
        ("Invalid control character", "control character in a string"),
        ("Unterminated string", "string without an end"),
        ("Invalid \\u", "bad \\u escape"),
        ("Invalid \\", "bad \\ escape"),
    ):
        if message.startswith(theirs):
            return ours
    return message[:1].lower() + message[1:]


def odd_tokens(text: str) -> Iterator[tuple[int, str]]:
    """Yield (position, reason) of what the grammar allows and we do not, in `text` that is grammatical up to there."""
    from json import decoder

    scanstring: Any = getattr(decoder, "scanstring")  # noqa: B009 - typeshed does not know it

    holders: list[set[str] | None] = []  # the keys seen in each open object; None for a list
    position = 0
    while position < len(text):
        start, first = position, text[position]
        position += 1
        if first in "{[":
            holders.append(set() if first == "{" else None)
        elif first in "}]" and holders:
            holders.pop()
        elif first == '"':
            string, position = scanstring(text, position, True)
            if any("\ud800" <= character <= "\udfff" for character in string):
                yield start, "lone surrogate"
            keys = holders[-1] if holders else None
            if keys is not None and text[position:].lstrip(BLANKS)[:1] == ":":
                if string in keys:
                    yield start, f"duplicate key {quoted(string)}"
                keys.add(string)
        elif first not in BLANKS + ",:":
            while position < len(text) and text[position] not in BLANKS + ",:]}":
                position += 1
            try:
                _number(text[start:position])
            except ValueError as error:
                yield start, str(error)


def _number(word: str) -> None:
    """Raise ValueError for a number, or what Python takes for one, that is refused."""
    if word in ("NaN", "Infinity", "-Infinity"):
        raise ValueError(f"{word} is not JSON")
    if word.lstrip("-").isdecimal():
        try:
            int(word)
        except ValueError:  # CVE-2020-10735: Python's own limit of 4300 digits
            raise ValueError("number of too many digits") from None
    elif word not in ("true", "false", "null") and float(word) in (float("inf"), -float("inf")):
        raise ValueError(f"{word[:20]} is out of range")


def fault(name: str, text: str, position: int, reason: str) -> SpecError:
    """Return the error for what is wrong at `position`, with the offending line as its hint."""
    begin = text.rfind("\n", 0, position) + 1
    line, column = text.count("\n", 0, position) + 1, position - begin + 1
    left = max(begin, position - EXCERPT // 2)
    excerpt = text[left : left + EXCERPT].split("\n", 1)[0]
    # a terminal obeys what it is shown, and tabs would move the caret away from its column
    shown = "".join(character if character.isprintable() else " " for character in excerpt)
    caret = " " * (position - left) + "^"
    return SpecError(f"{name}: line {line}, column {column}: {reason}", hint=f"{shown}\n{caret}")

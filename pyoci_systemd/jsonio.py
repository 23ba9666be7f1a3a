"""JSON in and out: a strict loader, a small writer, a bounded reader.

This runs in every hot verb: the C half of `json` (`_json`, 0.06 ms) is used without its Python half (7.7 ms,
most of it `re` and `enum`), which is the fallback and the maker of messages.
"""

from __future__ import annotations

import posix

from .errors import Error, SpecError, because, quoted

try:
    from _json import encode_basestring as _quoted
except ImportError:  # an interpreter built without the accelerator
    from json.encoder import encode_basestring as _quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scan = Callable[[str, int], tuple[object, int]]

MAX_BYTES = 16 << 20
MAX_DEPTH = 128

BLANKS = " \t\n\r"
_KIND, _REGULAR = 0o170000, 0o100000  # S_IFMT and S_IFREG; `stat` would be one import more


# -- reading ------------------------------------------------------------------------------------------------------


class Refused(ValueError):
    """Something JSON's grammar allows, or Python's scanner does, and we do not."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refused("duplicate key")
    return members


def finite(digits: str) -> float:
    number = float(digits)
    if number - number != 0:  # infinity minus itself is NaN
        raise Refused(f"{digits[:20]} is out of range")
    return number


def _constant(word: str) -> object:
    raise Refused(f"{word} is not JSON")


class _Context:
    """What `_json.make_scanner` asks of a JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    parse_float = staticmethod(finite)
    parse_int = int
    parse_constant = staticmethod(_constant)


def stdlib_scanner() -> Scan:
    """Return the scanner of the stdlib's `json` with our rules: the fallback, and the tests' second opinion."""
    from json import JSONDecoder

    hooks: Any = {"object_pairs_hook": _object, "parse_float": finite, "parse_constant": _constant}
    decoder: Any = JSONDecoder(strict=True, **hooks)
    scan: Scan = decoder.scan_once
    return scan


def _scanner() -> Scan:
    context: Any = _Context
    try:
        from _json import make_scanner

        scan: Scan = make_scanner(context)
        scan("{}", 0)
        return scan
    except (ImportError, TypeError, AttributeError):  # `_json` is private: another Python may want another context
        return stdlib_scanner()


_scan = _scanner()


def loads(data: bytes, name: str, scan: Scan | None = None) -> object:
    """Return the value of the JSON document `data` (RFC 8259, UTF-8); `name` is what errors call it.

    Stricter than the RFC where it leaves a choice, because what two parsers read differently can be used against
    the one that checks: no byte order mark, no duplicate keys, no lone surrogates, no number that is infinite,
    at most `MAX_DEPTH` levels and `MAX_BYTES` bytes. NUL inside strings is the spec validator's to refuse.
    `scan` is for tests. Raises SpecError with line and column, and the offending line as its hint.
    """
    if len(data) > MAX_BYTES:
        raise SpecError(f"{name}: over {MAX_BYTES >> 20} MiB")
    if data.startswith(b"\xef\xbb\xbf"):
        raise SpecError(f"{name}: line 1, column 1: byte order mark")
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        before = str(data[: error.start], "utf-8")
        raise _fault()(name, str(data, "utf-8", "replace"), len(before), "not UTF-8") from None
    try:
        value, end = (scan or _scan)(text, len(text) - len(text.lstrip(BLANKS)))
    except SystemError:
        # Python 3.11's scanner cannot say what is wrong while `json` is not imported
        return loads(data, name, stdlib_scanner())
    except StopIteration as stop:
        raise _fault()(name, text, stop.value, "expecting a value") from None
    except RecursionError:
        raise SpecError(f"{name}: over {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        from .jsonfault import explain

        raise explain(name, text, error) from None
    rest = text[end:].lstrip(BLANKS)
    if rest:
        raise _fault()(name, text, len(text) - len(rest), "text after the end of the document")
    # fewer brackets than levels allowed: the walk over the value (20 us) is not needed
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _too_deep(value):
        raise SpecError(f"{name}: over {MAX_DEPTH} levels deep")
    # the text itself holds no surrogate, or it would not have decoded; an escape may
    if "\\ud" in text or "\\uD" in text:
        from .jsonfault import odd_tokens

        for position, reason in odd_tokens(text):
            raise _fault()(name, text, position, reason)
    return value


def _fault() -> Callable[[str, str, int, str], SpecError]:
    from .jsonfault import fault  # 7 kB of code that a good document does not need

    return fault


def _too_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for holder in level
            for item in (holder.values() if type(holder) is dict else holder)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


# -- files --------------------------------------------------------------------------------------------------------


def contents(path: str) -> bytes:
    """Return the bytes of the regular file `path`, at most `MAX_BYTES` of them. Raises SpecError."""
    try:
        # a FIFO put in the place of config.json must not hold us
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
    except OSError as error:
        raise _unreadable(f"`{path}`", error) from None
    except ValueError:
        raise SpecError(f"{quoted(path)}: a path cannot hold NUL") from None
    try:
        status = posix.fstat(fd)
        if status.st_mode & _KIND != _REGULAR:
            raise SpecError(f"`{path}`: not a regular file")
        if status.st_size > MAX_BYTES:
            raise SpecError(f"`{path}`: over {MAX_BYTES >> 20} MiB")
        return drain(fd, f"`{path}`", status.st_size)
    finally:
        posix.close(fd)


def drain(fd: int, name: str, expected: int = 65536) -> bytes:
    """Return what is left to read from `fd`, at most `MAX_BYTES` bytes (`expected` is a guess, to read it in one go).

    For standard input too: `update --resources -`. Raises SpecError, which calls the source `name`.
    """
    chunks: list[bytes] = []
    room = MAX_BYTES + 1
    try:
        while room > 0:
            chunk = posix.read(fd, min(room, max(expected + 1, 65536)))
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            room -= len(chunk)
    except OSError as error:
        raise _unreadable(name, error) from None
    raise SpecError(f"{name}: over {MAX_BYTES >> 20} MiB")


def read(path: str, name: str | None = None) -> object:
    """Return the value of the JSON file `path`; `name` is what errors about its content call it (default: the path).

    Raises SpecError: unreadable, not a regular file, or refused by `loads`.
    """
    return loads(contents(path), name or path)


def _unreadable(name: str, error: OSError) -> SpecError:
    return SpecError(because(name, error).message)


# -- writing ------------------------------------------------------------------------------------------------------


def dumps(value: object, indent: int = 0) -> str:
    """Return `value` as JSON: on one line, or with `indent` spaces a level; keys stay in the order of insertion.

    Text goes out as UTF-8 rather than `\\uXXXX`: the readers of our state are people and `journalctl` as well as
    programs, and paths stay greppable. Raises Error for what JSON cannot say: a float that is not finite,
    a string that is not Unicode (a path with stray bytes), a key or value of another type.
    """
    out: list[str] = []
    _write(value, "\n" if indent else "", " " * indent, out.append)
    text = "".join(out)
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise Error(f"not valid UTF-8: {quoted(text[max(0, error.start - 20) : error.end])}") from None
    return text


def _write(value: Any, newline: str, step: str, put: Callable[[str], None]) -> None:
    """Put `value`; `newline` is the line break and indentation of its holder, or empty for a document of one line."""
    kind = type(value)
    if kind is str:
        put(_quoted(value))
    elif value is None or kind is bool:
        put("null" if value is None else "true" if value else "false")
    elif kind is int:
        put(int.__repr__(value))
    elif kind is float and value - value == 0:
        put(float.__repr__(value))
    elif (kind is list or kind is tuple or kind is dict) and not value:
        put("{}" if kind is dict else "[]")
    elif kind is list or kind is tuple or kind is dict:
        inner = newline and newline + step
        comma = f",{inner}" if inner else ", "
        separator = inner
        put("{" if kind is dict else "[")
        for item in value:
            put(separator)
            separator = comma
            if kind is dict:
                if type(item) is not str:
                    raise Error(f"a JSON key must be a string, not {type(item).__name__}")
                put(_quoted(item))
                put(": ")
                item = value[item]
            _write(item, inner, step, put)
        put(newline)
        put("}" if kind is dict else "]")
    else:
        raise Error(f"JSON cannot say {kind.__name__} {value!r:.40}")

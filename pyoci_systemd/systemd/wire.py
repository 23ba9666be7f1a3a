"""D-Bus on the wire: Python values to bytes and back; D-Bus Specification, "Type System" and "Message Protocol".

Pure, and imported by every hot verb: nothing but C modules. We write little endian and read both orders.

    D-Bus           Python                      D-Bus           Python
    y n q i u x t   int                         (..)            tuple
    h               int: index of the fd        a               list (written from a tuple too)
    b               bool                        ay              bytes
    d               float                       a{..}           dict
    s o g           str                         v               (signature, value)
"""

from __future__ import annotations

from _struct import error as StructError  # type: ignore[attr-defined]  # typeshed has it in struct only
from _struct import pack, unpack_from

from ..errors import BusError
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Our own limits, far below those of D-Bus (128 MiB): transient-unit properties that are too big have made
# PID 1 abort (systemd issues 20933, 40916), and a property is always a variant.
LARGEST_VARIANT = 64 << 10
LARGEST_CALL = 1 << 20
LARGEST_MESSAGE = 16 << 20
DEEPEST = 64  # the specification's bound for all containers together

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY_EXPECTED = 1
HEAD = 16  # bytes of a message that tell its length

# code: (letter of struct, size and alignment in bytes, the Python type)
FIXED: dict[str, tuple[str, int, type]] = {
    "y": ("B", 1, int), "b": ("I", 4, bool), "n": ("h", 2, int), "q": ("H", 2, int), "i": ("i", 4, int),
    "u": ("I", 4, int), "h": ("I", 4, int), "x": ("q", 8, int), "t": ("Q", 8, int), "d": ("d", 8, float),
}  # fmt: skip
ALIGNMENT = {"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8, **{code: FIXED[code][1] for code in FIXED}}
BASIC = frozenset("ybnqiuhxtdsog")
NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
# header field code: its name in Message, its signature
FIELDS = {
    1: ("path", "o"), 2: ("interface", "s"), 3: ("member", "s"), 4: ("error", "s"), 5: ("reply_to", "u"),
    6: ("destination", "s"), 7: ("sender", "s"), 8: ("signature", "g"), 9: ("fds", "u"),
}  # fmt: skip
NEEDED = {CALL: ("path", "member"), RETURN: ("reply_to",), ERROR: ("reply_to", "error"),
          SIGNAL: ("path", "interface", "member")}  # fmt: skip

_split: dict[str, tuple[str, ...]] = {"": ()}  # signatures met before; bounded, since peers choose them too


def split(signature: str) -> tuple[str, ...]:
    """Cut `signature` into its complete types: `sa(sv)u` gives `s`, `a(sv)`, `u`. ValueError if it is invalid."""
    types = _split.get(signature)
    if types is None:
        if len(signature) > 255:
            raise ValueError("signature longer than 255 bytes")
        end = 0
        found = []
        while end < len(signature):
            start, end = end, _end(signature, end, 0, 0)
            found.append(signature[start:end])
        types = tuple(found)
        if len(_split) < 256:
            _split[signature] = types
    return types


def _end(signature: str, at: int, arrays: int, structs: int) -> int:
    """Return where the complete type that begins at `at` ends."""
    code = signature[at : at + 1]
    if code in BASIC or code == "v":
        return at + 1
    if code == "a" and arrays < 32:
        if signature[at + 1 : at + 2] != "{":
            return _end(signature, at + 1, arrays + 1, structs)
        if signature[at + 2 : at + 3] in BASIC and structs < 32:
            end = _end(signature, at + 3, arrays + 1, structs + 1)
            if signature[end : end + 1] == "}":
                return end + 1
    elif code == "(" and structs < 32:
        end = _end(signature, at + 1, arrays, structs + 1)
        while signature[end : end + 1] != ")":
            end = _end(signature, end, arrays, structs + 1)
        return end + 1
    raise ValueError(f"invalid signature {signature!r}")


def _one(signature: str) -> str:
    """Return `signature` if it is a single complete type, as a variant's must be."""
    if len(split(signature)) != 1:
        raise ValueError(f"variant of signature {signature!r}, not of one type")
    return signature


def _check_text(code: str, text: str) -> None:
    """Refuse what would make the broker hang up: NUL in any string, a malformed object path or signature."""
    if "\0" in text:
        raise ValueError(f"NUL in {text!r}")
    if code == "g":
        split(text)
    elif code == "o" and text != "/":
        head, *names = text.split("/")
        if head or not names or not all(name and NAME_CHARACTERS.issuperset(name) for name in names):
            raise ValueError(f"invalid object path {text!r}")


def marshal(signature: str, values: tuple[Any, ...]) -> bytes:
    """Return `values` as a message body of type `signature`.

    ValueError for a value that does not fit its type (a bool is no int), a string that is not UTF-8 or holds NUL,
    and what is over our limits.
    """
    out = bytearray()
    _put_all(out, split(signature), values)
    return bytes(out)


def _put_all(out: bytearray, types: tuple[str, ...], values: Any) -> None:
    if not isinstance(values, (tuple, list)) or len(types) != len(values):
        raise ValueError(f"{values!r} does not match the {len(types)} types {''.join(types)!r}")
    for kind, value in zip(types, values, strict=True):
        _put(out, kind, value)


def _put(out: bytearray, kind: str, value: Any) -> None:
    """Append `value`, of the complete type `kind`."""
    code = kind[0]
    out += bytes(-len(out) % ALIGNMENT[code])
    if code in FIXED:
        form, _, wanted = FIXED[code]
        if not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool):
            raise ValueError(f"{value!r} is no {wanted.__name__} (type {code!r})")
        try:
            out += pack("<" + form, value)
        except StructError:
            raise ValueError(f"{value} is out of the range of type {code!r}") from None
    elif code == "v":
        if type(value) is not tuple or len(value) != 2:
            raise ValueError(f"{value!r} is no variant (signature, value)")
        inner, value = value
        _put(out, "g", _one(inner))
        start = len(out)
        _put(out, inner, value)
        if len(out) - start > LARGEST_VARIANT:
            raise ValueError(f"value of {len(out) - start} bytes, at most {LARGEST_VARIANT} are allowed")
    elif code == "a":
        _put_array(out, kind[1:], value)
    elif code == "(":
        _put_all(out, split(kind[1:-1]), value)
    else:
        _put_text(out, code, value)


def _put_text(out: bytearray, code: str, value: Any) -> None:
    if type(value) is not str:
        raise ValueError(f"{value!r} is no string")
    _check_text(code, value)
    try:
        text = value.encode()
    except UnicodeEncodeError:  # a lone surrogate: bytes that were not UTF-8 where the string came from
        raise ValueError(f"{value!r} is not valid UTF-8") from None
    out += pack("<B" if code == "g" else "<I", len(text))
    out += text + b"\0"


def _put_array(out: bytearray, element: str, value: Any) -> None:
    size_at = len(out)
    out += bytes(4)
    out += bytes(-len(out) % ALIGNMENT[element[0]])  # this padding does not count in the array's length
    start = len(out)
    if element == "y" and isinstance(value, bytes):
        out += value
    elif element[0] == "{" and isinstance(value, dict):
        for pair in value.items():
            _put(out, f"({element[1:-1]})", pair)
    elif element[0] not in "y{" and isinstance(value, (tuple, list)):
        for item in value:
            _put(out, element, item)
    else:
        raise ValueError(f"{value!r} is no value for {'a' + element!r}")
    out[size_at : size_at + 4] = pack("<I", len(out) - start)


def unmarshal(signature: str, data: bytes, order: str = "<") -> tuple[Any, ...]:
    """Return the values of the message body `data`, of byte order `<` or `>`. BusError `malformed` if it is invalid."""
    try:
        values, end = _get_all(data, 0, split(signature), order, 0)
        if end != len(data):
            raise ValueError(f"{len(data) - end} bytes too many")
    except (ValueError, IndexError, StructError) as error:
        raise BusError("malformed", f"malformed message from the bus: {error}") from None
    return values


def _get_all(data: bytes, at: int, types: tuple[str, ...], order: str, depth: int) -> tuple[tuple[Any, ...], int]:
    values = []
    for kind in types:
        value, at = _get(data, at, kind, order, depth)
        values.append(value)
    return tuple(values), at


def _get(data: bytes, at: int, kind: str, order: str, depth: int) -> tuple[Any, int]:
    """Return the value of the complete type `kind` at `at`, and where it ends."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels")
    code = kind[0]
    at += -at % ALIGNMENT[code]
    if code in FIXED:
        form, size, wanted = FIXED[code]
        (value,) = unpack_from(order + form, data, at)
        if wanted is bool:
            if value > 1:
                raise ValueError(f"boolean {value}")
            value = value == 1
        return value, at + size
    if code == "v":
        inner, at = _get_text(data, at, "g", order)
        value, at = _get(data, at, _one(inner), order, depth + 1)
        return (inner, value), at
    if code == "a":
        return _get_array(data, at, kind[1:], order, depth + 1)
    if code in "({":
        return _get_all(data, at, split(kind[1:-1]), order, depth + 1)
    return _get_text(data, at, code, order)


def _get_text(data: bytes, at: int, code: str, order: str) -> tuple[str, int]:
    (size,) = unpack_from("B" if code == "g" else order + "I", data, at)
    at += 1 if code == "g" else 4
    end = at + size
    if data[end : end + 1] != b"\0":
        raise ValueError("string without its end")
    text = data[at:end].decode()
    _check_text(code, text)
    return text, end + 1


def _get_array(data: bytes, at: int, element: str, order: str, depth: int) -> tuple[Any, int]:
    (size,) = unpack_from(order + "I", data, at)
    at += 4
    at += -at % ALIGNMENT[element[0]]
    end = at + size
    if end > len(data):
        raise ValueError("array beyond the end")
    if element == "y":
        return data[at:end], end
    items: list[Any] = []
    while at < end:
        item, at = _get(data, at, element, order, depth)
        items.append(item)
    if at != end:
        raise ValueError("array whose last item is cut")
    return (dict(items) if element[0] == "{" else items), end


class Message(Record):
    """A message that came in. Header fields it does not carry are "" or 0."""

    kind: int
    serial: int
    order: str
    body: bytes
    path: str = ""
    interface: str = ""
    member: str = ""
    error: str = ""
    reply_to: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""
    fds: int = 0

    def values(self) -> tuple[Any, ...]:
        """Return the body's values. BusError `malformed`."""
        return unmarshal(self.signature, self.body, self.order)


def method_call(
    serial: int, destination: str, path: str, interface: str, member: str,
    signature: str = "", values: tuple[Any, ...] = (), fds: int = 0, flags: int = 0,
) -> bytes:  # fmt: skip
    """Return a method call ready to be sent; `destination` is "" on a connection without a broker. ValueError."""
    body = marshal(signature, values)
    if len(body) > LARGEST_CALL:
        raise ValueError(f"call of {len(body)} bytes, at most {LARGEST_CALL} are allowed")
    carried = {1: path, 2: interface, 3: member, 6: destination, 8: signature, 9: fds}
    fields = [(code, (FIELDS[code][1], value)) for code, value in carried.items() if value]
    head = marshal("yyyyuua(yv)", (ord("l"), CALL, flags, 1, len(body), serial, fields))
    return head + bytes(-len(head) % 8) + body


def length(head: bytes) -> int:
    """Return the whole length in bytes of the message that begins with the HEAD bytes `head`. BusError `malformed`."""
    order = {b"l": "<", b"B": ">"}.get(head[:1])
    if order is None or head[3] != 1:
        raise BusError("malformed", "malformed message from the bus: no D-Bus header")
    body, _, fields = unpack_from(order + "III", head, 4)
    total: int = HEAD + fields + -fields % 8 + body
    if total > LARGEST_MESSAGE:
        raise BusError("malformed", f"message of {total} bytes from the bus, at most {LARGEST_MESSAGE} are allowed")
    return total


def parse(data: bytes) -> Message:
    """Return the message that `data` is, of exactly the length it tells. BusError `malformed`."""
    order = "<" if data[:1] == b"l" else ">"
    body_at = len(data) - int(unpack_from(order + "I", data, 4)[0])
    end = HEAD + int(unpack_from(order + "I", data, 12)[0])
    _, kind, _, _, _, serial, fields = unmarshal("yyyyuua(yv)", data[:end], order)
    found = {}
    for code, (signature, value) in fields:
        name, wanted = FIELDS.get(code, ("", signature))  # unknown fields are to be ignored
        if signature != wanted:
            raise BusError("malformed", f"malformed message from the bus: {name} of type {signature!r}")
        if name:
            found[name] = value
    if not all(found.get(name) for name in NEEDED.get(kind, ())):
        raise BusError("malformed", f"malformed message from the bus: type {kind} without {NEEDED[kind]}")
    return Message(kind, serial, order, data[body_at:], **found)

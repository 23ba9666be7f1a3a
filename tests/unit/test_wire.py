"""D-Bus marshalling: examples worked out by hand from the specification, dbus-next as second opinion, noise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci_systemd.errors import BusError
from pyoci_systemd.systemd import wire
from pyoci_systemd.systemd.wire import Message, length, marshal, method_call, parse, split, unmarshal
from tests.chance import examples

# signature, values, the bytes: D-Bus Specification, "Marshaling (Wire Format)"
EXAMPLES: list[tuple[str, tuple[Any, ...], str]] = [
    ("y", (7,), "07"),
    ("b", (True,), "01000000"),
    ("n", (-2,), "feff"),
    ("q", (65535,), "ffff"),
    ("i", (-2,), "feffffff"),
    ("u", (1,), "01000000"),
    ("h", (0,), "00000000"),
    ("x", (-1,), "ffffffffffffffff"),
    ("t", (1 << 63,), "0000000000000080"),
    ("d", (1.0,), "000000000000f03f"),
    ("s", ("foo",), "03000000 666f6f 00"),
    ("s", ("",), "00000000 00"),
    ("s", ("é",), "02000000 c3a9 00"),
    ("o", ("/",), "01000000 2f 00"),
    ("g", ("a{sv}",), "05 617b73767d 00"),
    ("yu", (1, 2), "01 000000 02000000"),  # padding before a uint32
    ("yt", (1, 2), "01 00000000000000 0200000000000000"),
    ("y(y)", (1, (2,)), "01 00000000000000 02"),  # a struct stands at 8
    ("yv", (1, ("u", 2)), "01 01 75 00 02000000"),  # a variant stands anywhere, its value at its own boundary
    ("au", ([],), "00000000"),
    ("at", ([5],), "08000000 00000000 0500000000000000"),  # the length leaves the first padding out
    ("at", ([],), "00000000 00000000"),  # that padding is there for no item as well
    ("ay", (b"\1\2",), "02000000 0102"),
    ("as", (["a", "b"],), "0e000000 01000000 61 00 0000 01000000 62 00"),
    ("a{yu}", ({1: 2},), "08000000 00000000 01 000000 02000000"),
    ("a(sv)", ([("a", ("b", True))],), "10000000 00000000 01000000 6100 01 62 00 000000 01000000"),
    ("av", ([("v", ("y", 3))],), "07000000 01 76 00 01 79 00 03"),
]
IDS = [f"{signature}-{at}" for at, (signature, _, _) in enumerate(EXAMPLES)]


@pytest.mark.parametrize(("signature", "values", "data"), EXAMPLES, ids=IDS)
def test_examples(signature: str, values: tuple[Any, ...], data: str) -> None:
    assert marshal(signature, values) == bytes.fromhex(data)
    assert unmarshal(signature, bytes.fromhex(data)) == values


def test_big_endian_is_read() -> None:
    assert unmarshal("yus", bytes.fromhex("01000000 00000002 00000001 6100"), ">") == (1, 2, "a")


@pytest.mark.parametrize(
    ("signature", "types"),
    [("", ()), ("sa(sv)u", ("s", "a(sv)", "u")), ("a{s(ii)}aay", ("a{s(ii)}", "aay")), ("((y)v)", ("((y)v)",))],
)
def test_split(signature: str, types: tuple[str, ...]) -> None:
    assert split(signature) == types


BAD_SIGNATURES = [
    "a", "(", ")", "()", "(s", "{sv}", "a{sv", "a{vs}", "a{s}", "a{sss}", "a{(s)s}", "z", "é", "s\0",
    "a" * 33 + "s", "(" * 33 + "s" + ")" * 33, "s" * 256,
]  # fmt: skip


@pytest.mark.parametrize("signature", BAD_SIGNATURES)
def test_bad_signatures(signature: str) -> None:
    with pytest.raises(ValueError, match="signature"):
        split(signature)


REFUSED: list[tuple[str, Any, str]] = [
    ("y", 256, "out of the range"),
    ("y", -1, "out of the range"),
    ("u", 1 << 32, "out of the range"),
    ("u", True, "no int"),
    ("u", "1", "no int"),
    ("b", 1, "no bool"),
    ("d", 1, "no float"),
    ("s", b"x", "no string"),
    ("s", "a\0b", "NUL"),
    ("s", "\udcff", "UTF-8"),
    ("o", "", "object path"),
    ("o", "a/b", "object path"),
    ("o", "/a/", "object path"),
    ("o", "//a", "object path"),
    ("o", "/a-b", "object path"),
    ("g", "a", "signature"),
    ("v", ("ss", "x"), "not of one type"),
    ("v", ("", None), "not of one type"),
    ("v", 5, "no variant"),
    ("v", "su", "no variant"),
    ("as", "abc", "no value"),  # a string is no list of its letters
    ("ay", [1, 2], "no value"),
    ("as", b"ab", "no value"),
    ("a{sv}", [("a", ("s", "b"))], "no value"),
    ("(ss)", ("a",), "does not match"),
    ("(ss)", "ab", "does not match"),
    ("v", ("ay", bytes(wire.LARGEST_VARIANT)), "at most 65536"),
    ("v", ("as", ["x" * 100] * 700), "at most 65536"),
]


@pytest.mark.parametrize(("signature", "value", "text"), REFUSED)
def test_refused_values(signature: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        marshal(signature, (value,))


def test_number_of_values_must_match() -> None:
    with pytest.raises(ValueError, match="does not match"):
        marshal("su", ("a",))


def test_the_largest_variant_passes() -> None:
    data = bytes(wire.LARGEST_VARIANT - 8)
    assert unmarshal("v", marshal("v", (("ay", data),))) == (("ay", data),)


MALFORMED = [
    ("u", "010000"),  # cut
    ("u", "01000000 00"),  # too long
    ("b", "02000000"),
    ("s", "03000000 666f6f"),  # no NUL
    ("s", "03000000 660000 00"),  # NUL inside
    ("s", "01000000 ff 00"),  # not UTF-8
    ("s", "ffffffff 61 00"),
    ("o", "01000000 61 00"),
    ("g", "01 61 00"),
    ("v", "00 00"),  # no type
    ("v", "02 7575 00 01000000 01000000"),  # two types
    ("ay", "05000000 01"),
    ("au", "06000000 01000000 0200"),  # an item and a half
    ("as", "07000000 01000000 6100 0000"),  # the item ends before the array does
    ("v", "017600" * 70 + "017900 07"),  # nested too deeply
]


@pytest.mark.parametrize(("signature", "data"), MALFORMED)
def test_malformed_data(signature: str, data: str) -> None:
    with pytest.raises(BusError) as caught:
        unmarshal(signature, bytes.fromhex(data))
    assert caught.value.name == "malformed"


# A method return of serial 3 to call 2, from `:1.0`, with the string "hi"
RETURN = bytes.fromhex(
    "6c 02 01 01 07000000 03000000 1f000000"  # l, return, no reply expected, version 1, body 7, serial 3, fields 31
    "05 01 75 00 02000000"  # reply serial 2
    "07 01 73 00 04000000 3a312e30 00 000000"  # sender `:1.0`
    "08 01 67 00 01 73 00 00"  # signature `s`, then padding to 8
    "02000000 6869 00"
)


def test_a_return_is_read() -> None:
    assert length(RETURN[:16]) == len(RETURN)
    message = parse(RETURN)
    assert message == Message(2, 3, "<", RETURN[-7:], reply_to=2, sender=":1.0", signature="s")
    assert message.values() == ("hi",)


def test_a_call_reads_back() -> None:
    data = method_call(9, "org.a", "/b", "org.c", "D", "su", ("x", 1), fds=2)
    assert length(data[:16]) == len(data)
    message = parse(data)
    fields = (message.kind, message.serial, message.destination, message.path, message.interface, message.member)
    assert fields == (wire.CALL, 9, "org.a", "/b", "org.c", "D")
    assert (message.signature, message.fds, message.values()) == ("su", 2, ("x", 1))


def test_a_call_that_is_too_big_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 1048576"):
        method_call(1, "", "/", "a.b", "C", "ay", (bytes(wire.LARGEST_CALL),))


@pytest.mark.parametrize(
    ("at", "new", "text"),
    [
        (0, "78", "no D-Bus header"),  # byte order `x`
        (3, "02", "no D-Bus header"),  # version 2
        (4, "00000001", "at most 16777216"),  # body of 16 MiB, and its header
        (12, "ffffffff", "at most 16777216"),
    ],
)
def test_bad_heads(at: int, new: str, text: str) -> None:
    raw = bytes.fromhex(new)
    with pytest.raises(BusError, match=text) as caught:
        length((RETURN[:at] + raw + RETURN[at + len(raw) :])[:16])
    assert caught.value.name == "malformed"


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (16, "06"),  # the reply serial's number under the code of the destination
        (18, "69"),  # reply serial of type i
        (1, "04"),  # a signal without path
        (1, "03"),  # an error without name
        (20, "00000000"),  # reply serial 0
    ],
)
def test_bad_fields(at: int, new: str) -> None:
    raw = bytes.fromhex(new)
    with pytest.raises(BusError) as caught:
        parse(RETURN[:at] + raw + RETURN[at + len(raw) :])
    assert caught.value.name == "malformed"


@examples(1000)
@given(st.binary(max_size=200), st.sampled_from(["v", "a{sv}", "a(sv)", "ssa(sv)a(sa(sv))", "uoss", "ay", "aad", "g"]))
def test_noise_gives_only_bus_errors(data: bytes, signature: str) -> None:
    for order in "<>":
        try:
            unmarshal(signature, data, order)
        except BusError as error:
            assert error.name == "malformed"


@examples(1000)
@given(st.data())
def test_spoilt_messages_give_only_bus_errors(data: st.DataObject) -> None:
    good = data.draw(
        st.sampled_from([RETURN, method_call(1, "a.b", "/c", "d.e", "F", "a(sv)", ([("x", ("b", True))],))])
    )
    spoilt = bytearray(good)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4)):
        spoilt[at] = byte
    try:
        if length(bytes(spoilt[:16])) == len(spoilt):
            parse(bytes(spoilt)).values()
    except BusError as error:
        assert error.name == "malformed"


BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 255), "b": st.booleans(), "n": st.integers(-(1 << 15), (1 << 15) - 1),
    "q": st.integers(0, (1 << 16) - 1), "i": st.integers(-(1 << 31), (1 << 31) - 1),
    "u": st.integers(0, (1 << 32) - 1), "x": st.integers(-(1 << 63), (1 << 63) - 1),
    "t": st.integers(0, (1 << 64) - 1), "d": st.floats(allow_nan=False),
    "s": st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=9),
    "o": st.sampled_from(["/", "/a", "/a_1/B"]), "g": st.sampled_from(["", "s", "a{sv}(ii)"]),
}  # fmt: skip
TYPES = st.recursive(
    st.sampled_from([*BASIC, "v"]),
    lambda inner: st.one_of(
        inner.map("a{}".format),
        st.lists(inner, min_size=1, max_size=3).map(lambda types: f"({''.join(types)})"),
        st.tuples(st.sampled_from([*BASIC]), inner).map(lambda pair: f"a{{{pair[0]}{pair[1]}}}"),
    ),
    max_leaves=6,
)


def _value(draw: st.DrawFn, kind: str) -> Any:
    if kind in BASIC:
        return draw(BASIC[kind])
    if kind == "v":
        inner = draw(TYPES.filter(lambda text: "v" not in text))
        return inner, _value(draw, inner)
    if kind == "ay":
        return draw(st.binary(max_size=9))
    if kind.startswith("a{"):
        count = draw(st.integers(0, 3))
        return {_value(draw, kind[2]): _value(draw, kind[3:-1]) for _ in range(count)}
    if kind.startswith("a"):
        return [_value(draw, kind[1:]) for _ in range(draw(st.integers(0, 3)))]
    return tuple(_value(draw, part) for part in split(kind[1:-1]))


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[str, tuple[Any, ...]]:
    types = draw(st.lists(TYPES, max_size=4))
    return "".join(types), tuple(_value(draw, kind) for kind in types)


def _for_dbus_next(kind: str, value: Any) -> Any:
    """Return `value` as dbus-next wants it: variants as Variant, structs as lists."""
    from dbus_next.signature import Variant

    if kind == "v":
        return Variant(value[0], _for_dbus_next(*value))
    if kind.startswith("a{"):
        return {key: _for_dbus_next(kind[3:-1], item) for key, item in value.items()}
    if kind.startswith("a") and kind != "ay":
        return [_for_dbus_next(kind[1:], item) for item in value]
    if kind.startswith("("):
        return [_for_dbus_next(part, item) for part, item in zip(split(kind[1:-1]), value, strict=True)]
    return value


@examples(300)
@given(typed_values())
def test_second_opinion(typed: tuple[str, tuple[Any, ...]]) -> None:
    from dbus_next.message import Message as TheirMessage

    signature, values = typed
    body = [_for_dbus_next(kind, value) for kind, value in zip(split(signature), values, strict=True)]
    theirs = TheirMessage("a.b", "/c", "d.e", "F", signature=signature, body=body, serial=5)
    message = parse(bytes(theirs._marshall(False)))  # type: ignore[no-untyped-call]
    assert message.body == marshal(signature, values)
    assert message.values() == values
    assert (message.serial, message.destination, message.path, message.member) == (5, "a.b", "/c", "F")

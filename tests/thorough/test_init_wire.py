"""The init's reading of op lists: whatever is sent, it ends cleanly, and says EBADMSG and where if it can."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pyoci_systemd.plan import ops
from tests.chance import examples
from tests.unit.player import ERROR, GATE, Player, Reply, listed

CODES = {op.name: op.code for op in ops.TABLE}
SIGNATURES = [op.signature for op in ops.TABLE]


def head(count: int, body: bytes, size: int | None = None) -> bytes:
    return struct.pack("=II", count, len(body) if size is None else size) + body


def code(name: str) -> bytes:
    return struct.pack("=I", CODES[name])


def number(value: int) -> bytes:
    return struct.pack("=q", value)


def text(data: bytes, length: int | None = None, end: bytes = b"\0") -> bytes:
    return struct.pack("=I", len(data) if length is None else length) + data + end


def vector(*items: bytes, count: int | None = None, size: int | None = None) -> bytes:
    joined = b"".join(item + b"\0" for item in items)
    return struct.pack("=II", len(items) if count is None else count, len(joined) if size is None else size) + joined


def bad(message: bytes, index: int) -> None:
    """The message is refused at an op."""
    player = Player(message)
    assert player.replies() == [Reply(ERROR, index, errno.EBADMSG, 0)]
    assert player.end().status == 1


def silent(message: bytes) -> None:
    """The message ends the init, which has nothing to say."""
    player = Player(message)
    player.finish_sending()
    assert player.replies() == []
    assert player.end().status == 1


# one op of each kind of argument, all harmless: numbers, blob, texts, vectors
UMASK = code("umask") + number(0o22)
USER = code("user") + number(-1) + number(-1) + struct.pack("=I", 5) + b"\1\2\3\4\5" + number(1)
FIND = code("find_executable") + text(b"true") + text(b"/usr/bin:/bin")
EXECUTE = code("execute") + vector(b"true", b"") + vector(b"A=b")
WHOLE = [UMASK, USER, FIND, EXECUTE]
BODY = b"".join(WHOLE)
ENDS = [sum(map(len, WHOLE[: n + 1])) for n in range(len(WHOLE))]


def test_the_whole_list_runs() -> None:
    player = Player(head(4, BODY))
    assert player.replies() == []
    assert player.end().status == 0


@pytest.mark.parametrize("half", [0, 1])
def test_list_cut_off_at_every_byte(half: int) -> None:
    """The size is right, the last op has not all its arguments."""
    for size in range(half, len(BODY), 2):
        bad(head(4, BODY[:size]), sum(end <= size for end in ENDS))


def test_end_of_file_within_the_list() -> None:
    for size in range(0, len(BODY) + 8, 3):
        silent(head(4, BODY)[:size])


@pytest.mark.parametrize("message", [
    b"",
    b"\0" * 7,
    head(0, b""),
    head(0, UMASK),
    head(1, UMASK + UMASK),  # what comes after the last op is nobody's
    head(1, UMASK, 0xFFFFFFFF),
    head(0xFFFFFFFF, b"", 0x7FFFFFFF),
])  # fmt: skip
def test_nothing_to_do_or_never_all_of_it(message: bytes) -> None:
    silent(message)


@pytest.mark.parametrize(("message", "index"), [
    pytest.param(head(1, b""), 0, id="no op"),
    pytest.param(head(2, UMASK), 1, id="fewer ops than counted"),
    pytest.param(head(0xFFFFFFFF, UMASK * 3), 3, id="endless count"),
    pytest.param(head(1, struct.pack("=I", len(SIGNATURES))), 0, id="first code that is none"),
    pytest.param(head(1, struct.pack("=I", 0x7FFFFFFF) + bytes(64)), 0, id="code, positive"),
    pytest.param(head(1, struct.pack("=I", 0xFFFFFFFF) + bytes(64)), 0, id="code, negative"),
    pytest.param(head(2, UMASK + b"\xff\xff\xff\xff"), 1, id="second code"),
    pytest.param(head(1, code("find_executable") + text(b"true", 5) + text(b"")), 0, id="text runs into the next"),
    pytest.param(head(1, code("find_executable") + text(b"true", 3) + text(b"")), 0, id="text without its end"),
    pytest.param(head(1, code("find_executable") + text(b"true", end=b"") + text(b"")), 0, id="text without NUL"),
    pytest.param(head(1, code("hostname") + text(b"h", 0x7FFFFFFE)), 0, id="text of 2 GiB"),
    pytest.param(head(1, code("hostname") + text(b"h", 0x7FFFFFFF)), 0, id="text of INT_MAX"),
    pytest.param(head(1, code("hostname") + text(b"h", 0xFFFFFFFF)), 0, id="text of 4 GiB, with its NUL 0"),
    pytest.param(head(1, code("hostname") + text(b"", end=b"")), 0, id="text without room for NUL"),
    pytest.param(head(1, code("seccomp") + struct.pack("=I", 0xFFFFFFFF) + bytes(16)), 0, id="blob of 4 GiB"),
    pytest.param(head(1, code("seccomp") + struct.pack("=I", 17) + bytes(16)), 0, id="blob longer than the list"),
    pytest.param(head(1, code("execute") + vector(b"a", count=2) + vector()), 0, id="vector counts too many"),
    pytest.param(head(1, code("execute") + vector(b"a", b"b", count=1) + vector()), 0, id="vector counts too few"),
    pytest.param(head(1, code("execute") + vector(count=1) + vector()), 0, id="vector of one, of no size"),
    pytest.param(head(1, code("execute") + vector(b"a", count=0) + vector()), 0, id="vector of none, of a size"),
    pytest.param(head(1, code("execute") + vector(b"ab", b"c", size=4) + vector()), 0, id="vector cut off"),
    pytest.param(head(1, code("execute") + vector(b"a", size=0xFFFFFFFF) + vector()), 0, id="vector of 4 GiB"),
    pytest.param(head(1, code("execute") + vector(count=0xFFFFFFFF) + vector()), 0, id="vector of many"),
    pytest.param(head(1, code("execute") + struct.pack("=II", 1, 2) + b"\0a" + vector()), 0, id="vector without its end"),
])  # fmt: skip
def test_malformed(message: bytes, index: int) -> None:
    bad(message, index)


@pytest.mark.parametrize("argv", ["", "3", "3 0 0"])
def test_started_by_hand(argv: str) -> None:
    """As a container may do that finds it as /proc/self/exe: nothing happens."""
    player = Player(head(4, BODY), wrap=("sh", "-c", f'exec "$0" {argv}'))
    assert player.replies() == []
    assert player.end() == (1, b"")


# -- what nobody thought of

# what an op of random arguments could do to the process, so that a sanitizer or a limit speaks and not the reader
UNFIT = {CODES[name] for name in ("clone", "rlimit", "seccomp", "execute", "personality", "new_user_namespace")}


def codes(message: bytes) -> Iterator[int]:
    """Yield the codes that the init may get to, by a reader of our own that stops where it cannot go on."""
    at, end = 8, len(message)
    for _ in range(struct.unpack_from("=I", message)[0]):
        if end - at < 4:
            return
        (one,) = struct.unpack_from("=I", message, at)
        at += 4
        if one >= len(SIGNATURES):
            return
        yield one
        for kind in SIGNATURES[one]:
            if kind == "i":
                at += 8
                continue
            if end - at < 8:
                return
            length, size = struct.unpack_from("=II", message, at)
            at += {"s": 4 + length + 1, "b": 4 + length, "v": 8 + size}[kind]


SEED = listed(
    ops.Umask(0o22), ops.Await(0), ops.User(-1, -1, b"\0" * 8, 1), ops.Chdir("/", 0), ops.Home(0), ops.Symlink("a", "/b", 0),
    ops.FindExecutable("true", "/usr/bin"), ops.Mount("tmpfs", "t", "/m", ["a=b", "c"], "", 0, 1, 2, 3, 4, 5),
    ops.Bounding(-1), ops.Capabilities(0, 0, 0, 0),
)  # fmt: skip


@examples(60)
@given(st.data())
def test_mutated_lists(data: st.DataObject) -> None:
    message = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(message) - 1))
        kind = data.draw(st.sampled_from(["set", "word", "insert", "delete"]))
        if kind == "set":
            message[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, *range(len(SIGNATURES))]))
        elif kind == "word":
            message[at : at + 4] = struct.pack(
                "=I", data.draw(st.sampled_from([0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
            )
        elif kind == "insert":
            message[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            del message[at : at + data.draw(st.integers(1, 9))]
        assume(len(message) > 8)
    # all of it arrives, so that the reader of the list is met and not the one of its size
    message[4:8] = struct.pack("=I", len(message) - 8)
    survives(bytes(message))


@examples(30)
@given(st.integers(0, 2**32 - 1), st.binary(max_size=200), st.one_of(st.none(), st.integers(0, len(SIGNATURES) - 1)))
def test_random_lists(count: int, body: bytes, first: int | None) -> None:
    survives(head(count, b"" if first is None else struct.pack("=I", first)) + body)


def survives(message: bytes) -> None:
    """The init ends by itself, says at most what a list of ops can give rise to, and no sanitizer speaks."""
    message = message[:4] + struct.pack("=I", len(message) - 8) + message[8:]
    assume(UNFIT.isdisjoint(codes(message)))
    player = Player(message)
    player.finish_sending()
    replies = player.replies()
    assert player.end().status == 1
    assert all(reply.kind in (GATE, ERROR) for reply in replies)
    assert all(reply.error > 0 for reply in replies if reply.kind == ERROR)


def test_unfit_ops_are_kept_from_the_fuzz() -> None:
    """The reader above sees what the init sees."""
    message = listed(
        ops.Umask(1),
        ops.Mount("t", "s", "/", ["a", "b"], "", 0, 0, 0, 0, 0, 0),
        ops.Seccomp(b"x" * 9, 0),
        ops.Clone(0, -1),
    )
    assert list(codes(message)) == [CODES[name] for name in ("umask", "mount", "seccomp", "clone")]
    assert UNFIT & set(codes(message))

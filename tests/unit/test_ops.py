"""The op table: each op says itself, and what goes over the wire is what a reader of init.c's format gets back."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci_systemd.errors import failure
from pyoci_systemd.init.wire import encode
from pyoci_systemd.plan import ops, words
from pyoci_systemd.plan.header import header
from pyoci_systemd.plan.ops import TABLE, Op
from tests.chance import examples

INIT = Path(ops.__file__).parents[1] / "init"
SAMPLES = {"int": 1, "str": "text", "bytes": b"\1\0\0\0\2\0\0\0", "list[str]": ["one", "two"]}
# fields whose numbers have names, or whose values a sentence can say only when they are right
SPECIAL = {
    "namespace": 0x20000000, "namespaces": 0x20020000, "propagation": 1 << 19, "mode": 0o020666, "gate": 1, "resource": 7,
    "io_priority": 2 << 13 | 4, "memory_mode": 3, "attributes": pack(words.SCHEDULER_ATTRIBUTES, 56, 3, 1, 5, 0, 0, 0, 0, 0, 1024),
}  # fmt: skip


def sample(kind: type[Op], **changes: Any) -> Op:
    notes = kind.__annotations__
    values = {field: SPECIAL.get(field, SAMPLES[notes[field]]) for field in kind.fields}
    return kind(**{**values, **changes})


def decode(message: bytes) -> list[tuple[str, list[Any]]]:
    """Read a message as init.c does: numbers of 8 bytes, texts with length and NUL, blobs, vectors with count and size."""
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        assert at + size <= len(message)
        at += size
        return message[at - size : at]

    def word() -> int:
        return int(struct.unpack("=I", take(4))[0])

    count, size = word(), word()
    assert len(message) == 8 + size
    result = []
    for _ in range(count):
        kind = TABLE[word()]
        values: list[Any] = []
        for letter in kind.signature:
            if letter == "i":
                values.append(struct.unpack("=q", take(8))[0])
            elif letter == "b":
                values.append(take(word()))
            elif letter == "s":
                text = take(word() + 1)
                assert text[-1] == 0
                values.append(text[:-1])
            else:
                items, length = word(), word()
                parts = take(length).split(b"\0")
                assert parts.pop() == b""
                assert len(parts) == items
                values.append(parts)
        result.append((kind.name, values))
    assert at == len(message)
    return result


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.name)
def test_each_op_says_itself(kind: type[Op]) -> None:
    op = sample(kind)
    sentence = op.describe()
    assert sentence.isprintable()
    assert sentence[0].islower()
    assert not sentence.endswith(".")
    assert not re.search(r"[{}<>]|None|\bTrue\b|  ", sentence)
    assert sentence.count("`") % 2 == 0
    assert op.complaint().isprintable()


# what each op that has fields says of them: here every field must be heard of
FIELDS = [(kind, field) for kind in TABLE for field in kind.fields]
UNSAID = {
    # numbers that another field says, or that nobody reads
    ("mknod", "uid"), ("mknod", "gid"), ("user", "keep_groups"), ("seccomp", "flags"), ("chdir", "last"),
    ("find_executable", "path"), ("execute", "env"), ("scheduler", "pid"), ("io_priority", "pid"), ("rlimit", "pid"),
    ("mask", "base"), ("mask", "magic"), ("read_only", "base"), ("read_only", "magic"),
    ("map_ids", "tree"), ("map_ids", "mapping"), ("bind", "tree"), ("clone", "cgroup"), ("join_namespace", "number"),
    ("symlink", "exact"), ("offer", "number"), ("unmount", "number"),
    ("new_file", "tree"), ("new_file", "file"), ("own", "tree"), ("own", "file"), ("written", "gate"),
}  # fmt: skip


def test_no_field_is_passed_over() -> None:
    """Two ops that do different things read differently: the dry run and the error are all that a person sees."""
    passed_over = [
        (kind.name, field) for kind, field in FIELDS if sample(kind).describe() == other(kind, field).describe()
    ]
    assert [pair for pair in passed_over if pair not in UNSAID] == []


def other(kind: type[Op], field: str) -> Op:
    """Return the sample with another value in this field."""
    values: dict[str, Any] = {"int": 2, "str": "other", "bytes": b"\3\0\0\0", "list[str]": ["three"]}
    changed = {
        "namespace": 0x40000000, "namespaces": 0x40000000, "propagation": 1 << 20, "mode": 0o060600, "gate": 0, "resource": 4,
        "recursive": 0, "bind": 0, "dumpable": 0, "reach": 0x8000, "attributes": pack(words.SCHEDULER_ATTRIBUTES, 56, 1, 0, 0, 7, 0, 0, 0, 0, 1024),
    }.get(field, values[kind.__annotations__[field]])  # fmt: skip
    return sample(kind, **{field: changed})


@pytest.mark.parametrize(("op", "sentence"), [
    (ops.Mount("proc", "proc", "/proc", [], "", 1, 14, 0, 0, 0, 0), "mount proc `proc` on `/proc` (nosuid, nodev, noexec)"),
    (ops.Mount("tmpfs", "shm", "/dev/shm", ["mode=1777", "size=64k"], "", 0, 2, 0, 0, 0, 0),
     "mount tmpfs `shm` on `/dev/shm` (nosuid) with mode=1777, size=64k"),
    (ops.Mount("sysfs", "sysfs", "/sys", [], "/sys", 1, 1, 0, 0, 0, 0), "mount sysfs `sysfs` on `/sys` (ro), or bind `/sys`"),
    (ops.Mount("tmpfs", "t", "/m", [], "", 12, 0, 0, 0, 0, 0),
     "mount tmpfs `t` on `/m` (as open as what it covers, a copy of what it covers)"),
    (ops.Tree("/a", "/b", 0x88101, 1 << 19), "take `/a` with all below it, a link itself, for `/b` (slave)"),
    (ops.MapIds("/a", "0 → 5 (1)", 1, 0, 0x9000), "show the ids of `/a` with all below it as 0 → 5 (1)"),
    (ops.Bind("/a", "/b", 0, 3, 0, 1, 0, 0, 0, 0), "bind `/a` to `/b` (ro)"),
    (ops.Mknod("/dev/null", 0o020666, 1, 3, 0, 0), "make the device `/dev/null` (character device 0666 1:3)"),
    (ops.Rlimit(0, 7, 1024, 2**64 - 1), "limit RLIMIT_NOFILE to 1024 (hard unlimited)"),
    (ops.Scheduler(0, pack("=IIQiIQQQII", 56, 6, 5, 0, 0, 10**6, 10**7, 10**8, 0, 1024)),
     "schedule it by SCHED_DEADLINE, runtime 1000000, deadline 10000000, period 100000000, "
     "SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_DL_OVERRUN"),
    (ops.Scheduler(0, pack("=IIQiIQQQII", 56, 0, 0, -5, 0, 0, 0, 0, 0, 1024)), "schedule it by SCHED_OTHER, nice -5"),
    (ops.IoPriority(0, 3 << 13 | 7), "give it the I/O priority IOPRIO_CLASS_IDLE, 7"),
    (ops.MemoryPolicy(2 | 1 << 15, b"\x0b" + bytes(7)), "take memory by MPOL_BIND, MPOL_F_STATIC_NODES of the nodes 0-1, 3"),
    (ops.MemoryPolicy(4, b""), "take memory by MPOL_LOCAL"),
    (ops.CpuAffinity(b"\x80"), "let it run on the processor 7"),
    (ops.EveryCpu(), "let it run on every processor of its cgroup"),
    (ops.Mask("/proc/acpi", "", 0, ["context=a:b:c:s0:c1,c2"]), "mask `/proc/acpi` with context=a:b:c:s0:c1,c2"),
    (ops.Umask(0o22), "set the umask 0022"),
    (ops.User(1, 2, b"\3\0\0\0\4\0\0\0", 0), "become user 1, group 2, additional groups 3, 4"),
    (ops.Propagation(1 << 19 | 1 << 14), "make `/` rslave"),
    (ops.Bounding((1 << 41) - 1), "limit the bounding set to all"),
    (ops.Capabilities(1, 1, 0, 0), "take the capabilities CAP_CHOWN (effective the same, inheritable none, ambient none)"),
    (ops.Capabilities(3, 1, 0, 1),
     "take the capabilities CAP_CHOWN, CAP_DAC_OVERRIDE (effective CAP_CHOWN, inheritable none, ambient CAP_CHOWN)"),
    (ops.Capabilities(0, 0, 0, 0), "give up every capability"),
    (ops.Clone(0x20020000, -1), "start the container's first process in new namespaces (mount, pid)"),
    (ops.Await(0), "wait until its cgroup stands"),
    (ops.Seccomp(bytes(80), 0), "filter system calls with a program of 10 instructions"),
])  # fmt: skip
def test_sentence(op: Op, sentence: str) -> None:
    assert op.describe() == sentence


def test_every_bit_is_said() -> None:
    assert words.flags(0x1 | 0x400000, words.ATTRIBUTES) == "ro, 0x400000"


@pytest.mark.parametrize(("op", "reason", "line"), [
    (ops.FindExecutable("X", "/bin"), "No such file or directory", 'exec: "X": stat X: no such file or directory'),
    (ops.FindExecutable("X", "/bin"), "Permission denied", 'exec: "X": permission denied'),
    (ops.Execute(["X", "y"], []), "Permission denied", 'exec: "X": permission denied'),
    (ops.Execute(["X"], []), "Exec format error", 'exec: "X": exec format error'),
    (ops.FindExecutable("a: stat b", "/bin"), "Permission denied", 'exec: "a: stat b": permission denied'),
    (ops.PivotRoot(), "Invalid argument", "change root: Invalid argument"),
    (ops.Chdir("/x", 1), "No such file or directory", "change to the working directory `/x` as the user: No such file or directory"),
])  # fmt: skip
def test_failure(op: Op, reason: str, line: str) -> None:
    assert failure(op.complaint(), reason) == line


# -- the table


def test_codes_are_places_in_the_table_and_names_are_unique() -> None:
    assert [kind.code for kind in TABLE] == list(range(len(TABLE)))
    assert len({kind.name for kind in TABLE}) == len(TABLE)


def test_signatures() -> None:
    letters = {"int": "i", "str": "s", "bytes": "b", "list[str]": "v"}
    for kind in TABLE:
        assert kind.signature == "".join(letters[kind.__annotations__[field]] for field in kind.fields)
        assert len(kind.signature) <= 11  # MAX_ARGS in init.h
    assert ops.Mount.signature == "sssvsiiiiii"
    assert ops.Execute.signature == "vv"


def test_header_is_the_table() -> None:
    found = re.findall(r'^\tOP\((\w+), "([isbv]*)"\) \\$', header(), re.MULTILINE)
    assert found == [(kind.name, kind.signature) for kind in TABLE]


def test_header_is_written_by_the_build(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pyoci_systemd.plan.header", str(tmp_path / "ops.h")]
    subprocess.run(command, check=True, cwd=INIT.parents[1], timeout=20)
    assert (tmp_path / "ops.h").read_text() == header()


def test_each_op_is_played_by_one_function() -> None:
    """And each uses no argument that it has not: `a[N]` with N below the length of its signature."""
    source = "\n".join(path.read_text() for path in sorted(INIT.glob("*.c")))
    written = re.findall(r"^OP\((\w+)\)\n\{\n(.*?)^\}", source, re.MULTILINE | re.DOTALL)
    made = re.findall(r"^\tOP\((\w+)\) \{(.*)\}", header(), re.MULTILINE)
    bodies = dict(written + made)
    assert len(bodies) == len(written) + len(made)
    assert set(bodies) == {kind.name for kind in TABLE}
    for kind in TABLE:
        used = [int(n) for n in re.findall(r"\ba\[(\d+)\]", bodies[kind.name])]
        assert max(used, default=-1) < len(kind.signature), kind.name


# -- the wire


def test_each_op_over_the_wire() -> None:
    def raw(value: Any) -> Any:
        if isinstance(value, str):
            return value.encode()
        return [raw(item) for item in value] if isinstance(value, list) else value

    for op in map(sample, TABLE):
        assert decode(encode([op, op])) == [(op.name, [raw(value) for value in op.values()])] * 2
    every = [sample(kind) for kind in TABLE]
    assert decode(encode(every)) == [(op.name, [raw(value) for value in op.values()]) for op in every]


@pytest.mark.parametrize(("number", "read"), [
    (0, 0), (-1, -1), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)),
    (2**63, -(2**63)), (2**64 - 1, -1),  # unsigned ones, such as RLIM_INFINITY: the same 64 bits
])  # fmt: skip
def test_numbers(number: int, read: int) -> None:
    assert decode(encode([ops.Umask(number)])) == [("umask", [read])]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@examples(40)
@given(texts, st.binary(max_size=9), st.lists(texts, max_size=4), st.lists(texts, max_size=4))
def test_round_trip(text: str, blob: bytes, argv: list[str], env: list[str]) -> None:
    message = encode([ops.Hostname(text), ops.Seccomp(blob, 5), ops.Execute(argv, env), ops.PivotRoot()])
    assert decode(message) == [
        ("hostname", [text.encode()]),
        ("seccomp", [blob, 5]),
        ("execute", [[item.encode() for item in argv], [item.encode() for item in env]]),
        ("pivot_root", []),
    ]


def test_bytes_that_are_no_utf_8_go_through() -> None:
    name = b"\xff\xfe/caf\xc3\xa9".decode("utf-8", "surrogateescape")
    assert decode(encode([ops.Rootfs(name)])) == [("rootfs", [b"\xff\xfe/caf\xc3\xa9"])]


def test_empty_list() -> None:
    assert encode([]) == bytes(8)
    assert decode(encode([ops.Execute([], [])])) == [("execute", [[], []])]


@pytest.mark.parametrize(
    "op", [ops.Rootfs("a\0b"), ops.Rootfs("\0"), ops.Execute(["a\0b"], []), ops.Execute([], ["\0"])]
)
def test_nul_in_a_text_is_refused(op: Op) -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode([op])


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_number_of_more_than_64_bits_is_refused(number: int) -> None:
    with pytest.raises((ValueError, struct.error)):
        encode([ops.Umask(number)])

"""Socket activation: what a service manager passed to us, what the program is told, and sockets of our own making."""

from __future__ import annotations

import _socket
import errno
import os
import pathlib
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from pyoci_systemd.container import activation, service, sockets, unixsocket
from pyoci_systemd.errors import Error, SpecError
from pyoci_systemd.plan import handover, ops, plan, process
from pyoci_systemd.plan.facts import Handover
from pyoci_systemd.settings import Options
from tests.unit.plans import config, facts, names, request

OURS = str(os.getpid())
VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[bytes, bytes]]:
    """Return our environment, without what a service manager may have put there."""
    import posix

    for name in VARIABLES:
        monkeypatch.delitem(posix.environ, name.encode(), raising=False)
    yield posix.environ
    for name in VARIABLES:
        posix.environ.pop(name.encode(), None)


def told(environment: dict[bytes, bytes], **variables: str) -> activation.Activation:
    for name in VARIABLES:
        environment.pop(name.encode(), None)
    environment.update({name.encode(): value.encode() for name, value in variables.items()})
    return activation.passed()


@pytest.fixture
def three(environment: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Have three descriptors passed to us, from 700 on: those from 3 on are the test runner's."""
    monkeypatch.setattr(activation, "FIRST", 700)
    for fd in (700, 701, 702):
        os.dup2(0, fd)
    yield 700
    for fd in (700, 701, 702):
        os.close(fd)


def test_what_was_passed(environment: dict[bytes, bytes], three: int) -> None:
    rows: list[tuple[dict[str, str], tuple[int, list[str] | None]]] = [
        ({}, (0, None)),
        ({"LISTEN_FDS": "2", "LISTEN_PID": OURS}, (2, None)),
        ({"LISTEN_FDS": "3", "LISTEN_PID": OURS, "LISTEN_FDNAMES": "a:b b:"}, (3, ["a", "b b", ""])),
        ({"LISTEN_FDS": "0", "LISTEN_PID": OURS}, (0, None)),
        # somebody else's: conmon says by --preserve-fds what is for us
        ({"LISTEN_FDS": "2"}, (0, None)),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a"}, (0, None)),
        ({"LISTEN_FDS": "x", "LISTEN_PID": "0" + OURS}, (0, None)),
    ]
    for variables, (count, named) in rows:
        passed = told(environment, **variables)
        assert (passed.count, passed.names) == (count, named), variables


@pytest.mark.parametrize(("variables", "complaint"), [
    ({"LISTEN_FDS": "4"}, "LISTEN_FDS: file descriptor 703: Bad file descriptor"),
    ({"LISTEN_FDS": "x"}, "LISTEN_FDS: `x` is not a number of file descriptors"),
    ({"LISTEN_FDS": "-1"}, "LISTEN_FDS: `-1` is not a number of file descriptors"),
    ({"LISTEN_FDS": "1_0"}, "LISTEN_FDS: `1_0` is not a number of file descriptors"),
    ({"LISTEN_FDS": "99999"}, "LISTEN_FDS: `99999` is not a number of file descriptors"),
    ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, "LISTEN_FDNAMES: 1 names for 2 file descriptors"),
    ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}, "LISTEN_FDNAMES: 2 names for 1 file descriptors"),
    ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a\tb"}, "LISTEN_FDNAMES: `a\\tb` cannot be the name of a file descriptor"),
    ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "ä"}, "LISTEN_FDNAMES: `\\xe4` cannot be the name of a file descriptor"),
    ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a" * 256}, f"LISTEN_FDNAMES: `{'a' * 256}` cannot be the name of a file descriptor"),
])  # fmt: skip
def test_what_cannot_have_been_passed(
    environment: dict[bytes, bytes], three: int, variables: dict[str, str], complaint: str
) -> None:
    with pytest.raises(Error) as caught:
        told(environment, LISTEN_PID=OURS, **variables)
    assert caught.value.message == complaint


def test_what_we_opened_ourselves_was_not_passed(environment: dict[bytes, bytes], three: int) -> None:
    os.set_inheritable(701, False)
    with pytest.raises(Error, match="^LISTEN_FDS: file descriptor 701 was not passed to us$"):
        told(environment, LISTEN_PID=OURS, LISTEN_FDS="2")


def test_what_the_program_is_told() -> None:
    one = activation.Activation(1)
    assert (one.variables(), one.own_pid()) == (["LISTEN_FDS=1"], ["LISTEN_PID"])
    one.add("web")
    one.add("")
    assert one.variables() == ["LISTEN_FDS=3", "LISTEN_FDNAMES=unknown:web:unknown"]
    nothing = activation.Activation()
    assert (nothing.variables(), nothing.own_pid()) == ([], [])


# -- the plan


HANDED = Handover(
    ["LISTEN_FDS=2", "NOTIFY_SOCKET=/run/notify/notify.sock"],
    ["LISTEN_PID", "WATCHDOG_PID"],
    [{"destination": "/run/notify", "type": "bind", "source": "/run/pyoci/c1/notify", "options": ["bind", "ro"]}],
)


@pytest.mark.parametrize(("env", "added", "own"), [
    (["A=b"], ["LISTEN_FDS=2", "NOTIFY_SOCKET=/run/notify/notify.sock"], ["LISTEN_PID", "WATCHDOG_PID"]),
    (["LISTEN_FDS=1"], ["NOTIFY_SOCKET=/run/notify/notify.sock"], ["LISTEN_PID", "WATCHDOG_PID"]),
    (["LISTEN_FDS=1", "LISTEN_PID=1"], ["NOTIFY_SOCKET=/run/notify/notify.sock"], ["WATCHDOG_PID"]),
    (["NOTIFY_SOCKET=", "WATCHDOG_PID"], ["LISTEN_FDS=2"], ["LISTEN_PID"]),
])  # fmt: skip
def test_what_the_config_says_stays(env: list[str], added: list[str], own: list[str]) -> None:
    given = config(process={"env": env}, mounts=[{"destination": "/run", "type": "tmpfs"}])
    more = handover.extended(given, HANDED)
    assert more["process"]["env"] == env + added
    assert handover.own_pid(more["process"], HANDED) == own
    assert [mount["destination"] for mount in more["mounts"]] == ["/run", "/run/notify"]
    assert given["process"]["env"] == env and len(given["mounts"]) == 1


def test_nothing_is_handed_over() -> None:
    given = config()
    assert handover.extended(given, None) is given
    assert handover.own_pid(given["process"], None) == []


def test_the_pid_is_known_before_the_filter() -> None:
    """The filter need not allow getpid(2)."""
    made = plan.make(config(), facts(), request(handover=HANDED), b"\0" * 8, 0)
    order = names(made.ops)
    assert order.index("own_pid") > order.index("clone")
    assert order.index("own_pid") < order.index("await_start") < order.index("seccomp")
    assert [op.variable for op in made.ops if isinstance(op, ops.OwnPid)] == ["LISTEN_PID", "WATCHDOG_PID"]
    assert made.ops[-1].env[1:] == HANDED.variables  # type: ignore[attr-defined]
    assert "own_pid" not in names(process.become(config()["process"], config(), facts(), [], b"", 0)[0])


# -- the service


def serving(asked: Any = (), waits: bool = False, detach: bool = False, preserve_fds: int = 0, **more: Any) -> Any:
    options = Options(notify="container", sockets=list(asked), detach=detach, preserve_fds=preserve_fds)
    return service.Service(config(**more), options, waits)


def test_a_socket_for_notifications(environment: dict[bytes, bytes]) -> None:
    told(environment, NOTIFY_SOCKET="@x", WATCHDOG_USEC="5000000", WATCHDOG_PID=OURS)
    address = "NOTIFY_SOCKET=/run/notify/notify.sock"
    handed = serving().handover("/run/pyoci/c1")
    assert (handed.variables, handed.own_pid) == ([address, "WATCHDOG_USEC=5000000"], ["WATCHDOG_PID"])
    assert [(mount["source"], mount["destination"]) for mount in handed.mounts] == [
        ("/run/pyoci/c1/notify", "/run/notify")
    ]
    # nobody would stay to pass on that it is alive
    for how in ({"waits": True}, {"detach": True}):
        assert (serving(**how).handover("/s").variables, serving(**how).handover("/s").own_pid) == ([address], [])
    told(environment, NOTIFY_SOCKET="@x", WATCHDOG_USEC="5000000", WATCHDOG_PID="1")
    assert serving().handover("/s").variables == [address]


def test_who_has_a_socket_of_its_own_needs_none_of_ours(environment: dict[bytes, bytes]) -> None:
    told(environment, NOTIFY_SOCKET="@x")
    handed = serving(process={"env": ["NOTIFY_SOCKET=/run/notify/notify.sock"]}).handover("/s")
    assert handed == Handover([], [], [])


@pytest.mark.parametrize(("variables", "how", "complaint"), [
    ({"NOTIFY_SOCKET": "nonsense"}, {}, "NOTIFY_SOCKET: `nonsense` is no socket"),
    ({}, {"asked": ["8080"], "preserve_fds": 1}, "--socket and --preserve-fds cannot be given together"),
    ({"NOTIFY_SOCKET": "@x"}, {"annotations": {"org.pyoci.fdstore": "yes"}}, "org.pyoci.fdstore: `yes` is neither true"),
])  # fmt: skip
def test_refused(environment: dict[bytes, bytes], variables: dict[str, str], how: Any, complaint: str) -> None:
    told(environment, **variables)
    with pytest.raises(Error) as caught:
        serving(**how)
    assert complaint in caught.value.message


def test_settings_of_the_config() -> None:
    assert service.stored(config(annotations={"org.pyoci.fdstore": "true"}))
    assert not service.stored(config(annotations={"org.pyoci.fdstore": "false"})) and not service.stored(config())
    offsets = {"monotonic": {"secs": -2, "nanosecs": 5000}, "boottime": {"secs": 9}}
    assert service.clock_offset(config(linux={"timeOffsets": offsets})) == -1999995
    assert service.clock_offset(config()) == 0
    with pytest.raises(SpecError):
        service.stored(config(annotations={"org.pyoci.fdstore": ""}))


# -- sockets of our own making


UNIX, V4, V6, VM = socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_VSOCK
# fmt: off
ADDRESSES: list[tuple[str, tuple[str, int, str, int] | str]] = [
    ("/run/x", ("", UNIX, "/run/x", 0)), ("web=/run/x", ("web", UNIX, "/run/x", 0)), ("/run/a=b", ("", UNIX, "/run/a=b", 0)),
    ("@x", ("", UNIX, "\0x", 0)), ("a b=@x=y", ("a b", UNIX, "\0x=y", 0)), ("@a=b", ("", UNIX, "\0a=b", 0)),
    ("8080", ("", V6, "::", 8080)), ("web=8080", ("web", V6, "::", 8080)), ("=80", ("", V6, "::", 80)),
    ("127.0.0.1:80", ("", V4, "127.0.0.1", 80)), ("[::1]:65535", ("", V6, "::1", 65535)), ("w=[::]:1", ("w", V6, "::", 1)),
    ("", "no address to listen on"), ("@", "no address to listen on"), ("run/x", "no address to listen on"),
    ("x", "no address to listen on"), ("0", "no address to listen on"), ("65536", "no address to listen on"),
    ("1_0", "no address to listen on"), ("localhost:80", "no address to listen on"), ("127.0.0.1", "no address to listen on"),
    ("::1:80", "no address to listen on"), ("[::1]", "no address to listen on"), ("[127.0.0.1]:80", "no address to listen on"),
    ("1.2.3.4:", "no address to listen on"), (":80", "no address to listen on"), ("[]:80", "no address to listen on"),
    ("vsock:2:80", ("", VM, "2", 80)), ("w=vsock::4294967294", ("w", VM, "4294967295", 4294967294)),
    ("vsock::0", "no address to listen on"), ("vsock::4294967295", "no address to listen on"),
    ("vsock:2", "no address to listen on"), ("vsock:4294967296:1", "no address to listen on"),
    ("vsock:-1:80", "no address to listen on"), ("vsock:2:80:1", "no address to listen on"),
    ("a:b=80", "`a:b` cannot be the name of a file descriptor"), ("ä=80", "cannot be the name of a file descriptor"),
]
# fmt: on


def test_addresses() -> None:
    for text, expected in ADDRESSES:
        if isinstance(expected, tuple):
            found = sockets.parse(text)
            assert (found.name, found.family, found.place, found.port) == expected, text
        else:
            with pytest.raises(Error, match="^--socket") as caught:
                sockets.parse(text)
            assert expected in caught.value.message, text


def test_a_path(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "s")
    address = sockets.parse(path)
    for _ in range(2):  # the second time there is the dead one of the first
        sockets.check([address])
        end = sockets.listen(address)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
        assert end.getsockname() == path
        with pytest.raises(Error, match=r"^--socket `/.*`: Address already in use$"):
            sockets.check([address])
        with pytest.raises(Error, match=r"^--socket `/.*`: Address already in use$"):
            sockets.listen(address)
        sockets.remove([path])
        assert os.path.exists(path), "somebody listens there"
        end.close()
    sockets.remove([path, path])
    assert not os.path.exists(path)


@pytest.mark.parametrize("what", ["file", "directory", "link", "datagram"])
def test_what_is_there_and_no_socket_of_ours(tmp_path: pathlib.Path, what: str) -> None:
    path = tmp_path / "s"
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(other):
        if what == "file":
            path.touch()
        elif what == "directory":
            path.mkdir()
        elif what == "link":
            path.symlink_to("elsewhere")
        else:
            other.bind(str(path))
        address = sockets.parse(str(path))
        for use in (lambda: sockets.check([address]), lambda: sockets.listen(address)):
            with pytest.raises(Error) as caught:
                use()
            assert caught.value.message == f"--socket `{path}`: {os.strerror(errno.EADDRINUSE)}"
        sockets.remove([str(path)])
        assert os.path.lexists(path)


@pytest.mark.parametrize("use", ["listen", "remove", "check"])
def test_a_directory_that_is_exchanged(tmp_path: pathlib.Path, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a path led to when we looked is what is acted on: red with unlink(path), and without the look after bind."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        with closing(socket.socket(socket.AF_UNIX)) as dead:
            dead.bind(str(tmp_path / name / "s"))
    path = str(tmp_path / "ours" / "s")
    connect = unixsocket.connect

    def exchange(where: str, timeout: float) -> _socket.socket:
        os.rename(tmp_path / "ours", tmp_path / "away")
        os.symlink("theirs", tmp_path / "ours")
        monkeypatch.undo()
        return connect(where, timeout)

    monkeypatch.setattr(unixsocket, "connect", exchange)
    if use == "check":
        sockets.check([sockets.parse(path)])
    elif use == "remove":
        sockets.remove([path])
    else:
        (tmp_path / "theirs" / "s").unlink()
        with pytest.raises(Error, match="^--socket `/.*/s`: its directory is not where it was a moment ago$"):
            sockets.listen(sockets.parse(path))
    assert os.path.lexists(tmp_path / "theirs" / "s") == (use != "listen")
    assert os.path.lexists(tmp_path / "away" / "s") == (use == "check")


def test_a_directory_that_is_missing(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "missing" / "s")
    for use in (lambda: sockets.check([sockets.parse(path)]), lambda: sockets.listen(sockets.parse(path))):
        with pytest.raises(Error, match="^--socket `/.*/missing/s`: No such file or directory$"):
            use()
    sockets.remove([path])


def test_ports() -> None:
    with closing(sockets.listen(sockets.parse("127.0.0.1:48101"))) as end:
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not os.get_inheritable(end.fileno())
        with pytest.raises(Error, match="^--socket `127.0.0.1:48101`: Address already in use$"):
            sockets.listen(sockets.parse("127.0.0.1:48101"))
    with closing(sockets.listen(sockets.parse("48101"))):
        socket.create_connection(("127.0.0.1", 48101), 5).close()
    with pytest.raises(Error, match="^--socket `192.0.2.1:80`: "):
        sockets.listen(sockets.parse("192.0.2.1:80"))


def test_between_virtual_machines() -> None:
    """Where the kernel knows them: the address that was asked for is listened on. Others say so."""
    address = sockets.parse("vsock::48103")
    try:
        with closing(sockets.listen(address)) as end:
            assert (end.family, end.getsockname()) == (socket.AF_VSOCK, (socket.VMADDR_CID_ANY, 48103))
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except Error as error:
        assert error.message == f"--socket `vsock::48103`: {os.strerror(errno.EAFNOSUPPORT)}"


def test_a_host_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(family: int, kind: int) -> _socket.socket:
        if family == V6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return _socket.socket(family, kind)

    monkeypatch.setattr("pyoci_systemd.container.sockets.socket", without)
    with closing(sockets.listen(sockets.parse("48102"))) as end:
        assert end.getsockname() == ("0.0.0.0", 48102)
    with pytest.raises(Error, match="Address family not supported by protocol"):
        sockets.listen(sockets.parse("[::1]:48102"))

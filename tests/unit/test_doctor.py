"""doctor: what is said of a machine that lacks things; the machine is made of files, or of answers that are put in."""

from __future__ import annotations

import errno
import json
import pathlib

import pytest

from pyoci_systemd.container import doctor, explain, hostchecks, scope, subids, userchecks
from pyoci_systemd.container.finding import BAD, GOOD, NOTE, Finding, controllers
from pyoci_systemd.errors import BusError
from pyoci_systemd.init.dialogue import ERROR, Reply
from pyoci_systemd.plan import ops
from tests.unit.test_bus import Peer, answer, played, soon

FOUND = [
    Finding("bus", BAD, "no user session bus at `/run/user/1/bus`", "loginctl enable-linger u"),
    Finding("linger", NOTE, "containers end with the last session"),
]


def test_text() -> None:
    assert doctor.as_text(FOUND) == (
        "bad   bus     no user session bus at `/run/user/1/bus`\n"
        "              → loginctl enable-linger u\n"
        "note  linger  containers end with the last session\n"
    )


def test_json() -> None:
    first, second = json.loads(doctor.as_json(FOUND))
    assert first == {
        "subject": "bus",
        "verdict": "bad",
        "found": "no user session bus at `/run/user/1/bus`",
        "mend": "loginctl enable-linger u",
    }
    assert second["mend"] == ""


@pytest.mark.parametrize(("have", "verdict", "found"), [
    ("cpuset cpu io memory pids", GOOD, "controllers cpuset cpu io memory pids"),
    ("memory pids", NOTE, "controllers memory pids: no limits of cpu, cpuset, io"),
    ("", NOTE, "controllers none: no limits of cpu, cpuset, io, memory, pids"),
])  # fmt: skip
def test_controllers(have: str, verdict: str, found: str) -> None:
    said = controllers("cgroups", have.split(), "mend it")
    assert (said.verdict, said.found) == (verdict, found)
    assert said.mend == ("" if verdict == GOOD else "mend it")


def test_a_kernel_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of a number that no kernel has yet is one that is missing."""
    monkeypatch.setattr(hostchecks, "CALLS", {**hostchecks.CALLS, "a_call": (4000, "12.5"), "another": (4001, "9.9")})
    said = hostchecks.kernel()
    assert said.verdict == BAD
    assert said.found.endswith(" has no a_call, another")
    assert said.mend == "boot Linux 12.5 or newer"


def test_no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the error that create would end with, and its hint."""

    def connect() -> None:
        raise BusError("connect", "no bus at `/run/x`", hint="start one")

    monkeypatch.setattr(scope, "connect", connect)
    said = hostchecks.bus()
    assert (said.verdict, said.found, said.mend) == (BAD, "no bus at `/run/x`", "start one")


@pytest.mark.parametrize(("names", "rootless", "verdict", "found", "mend"), [
    (["org.a", "org.freedesktop.machine1"], False, GOOD, "lists containers that are made with `--machine`", ""),
    (["org.a"], False, NOTE, "none, which is for `--machine`", "apt install systemd-container"),
    (["org.a"], True, NOTE, "none of the user's, for `--machine`: it comes with systemd 259", ""),
])  # fmt: skip
def test_machined(
    names: list[str], rootless: bool, verdict: str, found: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(peer: Peer) -> None:
        peer.greet()
        call = peer.call()
        assert call.member == "ListActivatableNames"
        peer.sock.sendall(answer(call.serial, "as", names))

    with played(part) as bus:
        bus.greet(soon())
        monkeypatch.setattr(scope, "connect", lambda: bus)
        monkeypatch.setattr(hostchecks, "is_rootless", lambda: rootless)
        said = hostchecks.machines()
    assert (said.verdict, said.mend) == (verdict, mend)
    assert said.found.startswith(found)


def test_machined_without_a_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect() -> None:
        raise BusError("connect", "no bus")

    monkeypatch.setattr(scope, "connect", connect)
    said = hostchecks.machines()
    assert (said.verdict, said.found) == (NOTE, "not looked for: no bus")


@pytest.mark.parametrize(("files", "verdict", "said"), [
    ({}, GOOD, "allowed"),
    ({"clone": "1\n", "most": "100\n", "apparmor": "0\n"}, GOOD, "allowed"),
    ({"clone": "0\n"}, BAD, "clone` is 0"),
    ({"most": "0\n"}, BAD, "most` is 0"),
    ({"apparmor": "1\n"}, BAD, "apparmor` is 1"),
])  # fmt: skip
def test_user_namespaces(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], verdict: str, said: str
) -> None:
    monkeypatch.setattr(userchecks, "BARS", {f"{tmp_path}/clone": "mend clone", f"{tmp_path}/most": "mend most"})
    monkeypatch.setattr(userchecks, "APPARMOR", f"{tmp_path}/apparmor")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    finding = userchecks.user_namespaces()
    assert finding.verdict == verdict
    assert finding.found.endswith(said)
    assert bool(finding.mend) == (verdict == BAD)


@pytest.mark.parametrize("lingers", [True, False])
def test_linger(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, lingers: bool) -> None:
    monkeypatch.setattr(userchecks, "LINGER", str(tmp_path))
    monkeypatch.setattr(userchecks, "owner", lambda: "someone")
    monkeypatch.setattr(subids, "owner", lambda: "someone")
    if lingers:
        (tmp_path / "someone").touch()
    said = userchecks.linger()
    assert (said.verdict, said.mend) == ((GOOD, "") if lingers else (NOTE, "loginctl enable-linger someone"))


def test_no_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"/etc/subuid": [(100000, 65536)], "/etc/subgid": []}
    monkeypatch.setattr(subids, "ranges", own.__getitem__)
    monkeypatch.setattr(userchecks, "owner", lambda: "someone")
    monkeypatch.setattr(subids, "owner", lambda: "someone")
    uids, gids = userchecks.ranges()
    assert (uids.verdict, uids.found) == (GOOD, "100000-165535")
    assert (gids.verdict, gids.mend) == (NOTE, "as root: usermod --add-subgids 100000-165535 someone")


OPS: list[ops.Op] = [ops.Umask(0), ops.NewUserNamespace(), ops.Umask(0), ops.Unmount("/x", 0)]


@pytest.mark.parametrize(("user", "file", "index", "error", "mend"), [
    (1000, "clone", 1, errno.EPERM, "mend clone"),
    (1000, "most", 1, errno.ENOSPC, "mend most"),
    (1000, "apparmor", 1, errno.EPERM, "or a profile with `userns,` for pyoci"),
    (1000, "apparmor", 3, errno.EACCES, "or a profile with `userns,` for pyoci"),  # it lets one be made
    (1000, "apparmor", 3, errno.ENOENT, ""),
    (1000, "apparmor", 0, errno.EPERM, ""),
    (1000, "", 1, errno.EPERM, ""),
    (0, "clone", 1, errno.EPERM, ""),
])  # fmt: skip
def test_an_error_says_what_doctor_says(
    user: int, file: str, index: int, error: int, mend: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red without the second half of the hint."""
    for name in ("clone", "most", "apparmor"):
        (tmp_path / name).write_text(str(int((name == file) == (name == "apparmor"))))
    monkeypatch.setattr(userchecks, "BARS", {f"{tmp_path}/clone": "mend clone", f"{tmp_path}/most": "mend most"})
    monkeypatch.setattr(userchecks, "APPARMOR", f"{tmp_path}/apparmor")
    monkeypatch.setattr(explain.posix, "geteuid", lambda: user)  # type: ignore[attr-defined]
    hint = explain.explain(Reply(ERROR, index, error, 0), OPS).hint
    finding = userchecks.user_namespaces()
    assert hint == (f"{finding.found}; {finding.mend}" if mend else "")
    assert hint.endswith(mend)

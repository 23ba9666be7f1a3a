"""Socket activation (sd_listen_fds(3)): systemd's sockets, in the hands of a server in the container that checks them.

The server is dbus-daemon: with --address=systemd: it takes what it is passed only when LISTEN_PID is its own pid.

Seen red:
    the first request starts it           LISTEN_PID not said; the sockets not counted among what is preserved
    the pid is the program's own          LISTEN_PID=1 said to everybody
    what was not meant for us             LISTEN_FDS taken without a look at LISTEN_PID
crun 1.21 passes no LISTEN_FDS and no names on, and takes LISTEN_FDS whoever it is for.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Podman
from tests.integration.service_scene import Served, ours, served, systemctl, units

__all__ = ["served", "units"]  # fixtures
pytestmark = ours

BUS = ["dbus-daemon", "--config-file=/usr/share/dbus-1/session.conf", "--address=systemd:", "--nofork", "--nopidfile"]
# what a program finds: its variables, whether the pid is its own, and where each of its sockets listens
FOUND = """
import json, os, socket
e = {name: value for name, value in os.environ.items() if name.startswith("LISTEN_")}
e["own pid"] = e.pop("LISTEN_PID", "") == str(os.getpid())
e["open"] = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd))
e["at"] = [str(socket.socket(fileno=fd).getsockname()) for fd in range(3, 3 + int(e.get("LISTEN_FDS", 0)))]
print(json.dumps(e))
"""


def asked(address: object) -> subprocess.CompletedProcess[str]:
    """Ask a bus that listens at a path who is on it."""
    command = ["busctl", f"--address=unix:path={address}", "--no-pager", "list"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def answers(address: object) -> bool:
    return "org.freedesktop.DBus" in asked(address).stdout


def activated(*command: str | os.PathLike[str], at: list[str], names: str = "", **how: Any) -> dict[str, Any]:
    """Run a command as systemd runs a service when somebody connects to the last of `at`; return what it found."""
    options = [f"--listen={address}" for address in at] + ([f"--fdname={names}"] if names else [])
    options.append("--setenv=LISTEN_PIDFDID=7")  # of a newer systemd, which says by it what LISTEN_PID says
    with subprocess.Popen(
        ["systemd-socket-activate", *options, *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how,
    ) as process:  # fmt: skip
        connect(at[-1])
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out) if out else {}
    return found


def connect(address: str) -> None:
    """Connect to a path, waiting until somebody listens there."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as peer:
                return peer.connect(address)
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens at {address}"
            time.sleep(0.01)


@pytest.fixture
def finding(served: Served) -> Served:
    """Return a container that prints what it finds."""
    served.bundle.args("python3", "-c", FOUND)
    return served


def test_the_first_request_starts_it(served: Served, tmp_path: pathlib.Path) -> None:
    """It is answered by the server in the container, which says itself that it is ready."""
    path = tmp_path / "bus"
    served.write(f"exec {' '.join(BUS)}")
    served.units.write(
        f"{served.name}.socket", f"[Socket]\nListenStream={path}\nListenStream={path}2\nFileDescriptorName=the bus\n"
    )
    systemctl("start", f"{served.name}.socket")
    assert served.show("ActiveState") == "inactive"
    assert answers(path)
    assert served.show("ActiveState") == "active"
    told = served.environment()
    assert {name: told[name] for name in told if name.startswith("LISTEN_")} == {
        "LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "the bus:the bus",
    }  # fmt: skip
    # it goes, the sockets stay, and the next request starts it again
    first = served.pid
    systemctl("kill", "--kill-whom=main", "--signal=KILL", served.unit)
    served.units.becomes(served.unit, "ActiveState", "failed")
    systemctl("reset-failed", served.unit)
    assert answers(f"{path}2")
    assert served.pid != first


def test_order_and_names(finding: Served, tmp_path: pathlib.Path) -> None:
    at = [f"{tmp_path}/{name}" for name in ("c", "a", "b")]
    found = activated(
        finding.runtime, "run", "--bundle", finding.bundle.path, finding.name, at=at, names="third:first:a second"
    )
    assert found == {
        "LISTEN_FDS": "3", "LISTEN_FDNAMES": "third:first:a second", "own pid": True, "at": at,
        "open": [0, 1, 2, 3, 4, 5],
    }  # fmt: skip


def test_more_is_preserved_after_them(finding: Served, tmp_path: pathlib.Path) -> None:
    script = (
        f"exec 7</dev/null; exec {finding.runtime} run --preserve-fds 4 --bundle {finding.bundle.path} {finding.name}"
    )
    found = activated("sh", "-c", script, at=[f"{tmp_path}/a"])
    assert (found["LISTEN_FDS"], found["open"]) == ("1", [0, 1, 2, 3, 7])


def test_create(finding: Served, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    script = f"exec {finding.runtime} create --bundle {finding.bundle.path} {finding.name} >{out} 2>&1"
    activated("sh", "-c", script, at=[f"{tmp_path}/a"], names="web")
    finding.run("start", finding.name, check=True)
    finding.units._wait_until(lambda: out.read_text().endswith("\n"), "its end")
    found = json.loads(out.read_text())
    assert (found["LISTEN_FDNAMES"], found["own pid"], found["at"]) == ("web", True, [f"{tmp_path}/a"])


@pytest.mark.parametrize("namespace", [True, False])
def test_exec(finding: Served, tmp_path: pathlib.Path, namespace: bool) -> None:
    """The pid is the program's own, as it sees it: neither 1 nor the host's."""
    if not namespace:
        kinds = finding.config["linux"]["namespaces"]
        finding.config["linux"]["namespaces"] = [kind for kind in kinds if kind["type"] != "pid"]
    finding.bundle.sh("exec sleep 1000")
    finding.run("run", "--detach", "--bundle", finding.bundle.path, finding.name, check=True)
    found = activated(finding.runtime, "exec", finding.name, "python3", "-c", FOUND, at=[f"{tmp_path}/a"], names="web")
    assert found == {
        "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "own pid": True, "at": [f"{tmp_path}/a"], "open": [0, 1, 2, 3],
    }  # fmt: skip


def test_what_the_config_says_stays(finding: Served, tmp_path: pathlib.Path) -> None:
    finding.config["process"]["env"] += ["LISTEN_FDNAMES=mine"]
    finding.bundle.write()
    found = activated(
        finding.runtime, "run", "--bundle", finding.bundle.path, finding.name, at=[f"{tmp_path}/a"], names="theirs"
    )
    assert (found["LISTEN_FDNAMES"], found["LISTEN_FDS"], found["own pid"]) == ("mine", "1", True)


def test_what_was_not_meant_for_us(finding: Served, tmp_path: pathlib.Path) -> None:
    """A shell that was activated, and did not unset its variables."""
    script = f"{finding.runtime} run --bundle {finding.bundle.path} {finding.name}; exit $?"
    assert activated("sh", "-c", script, at=[f"{tmp_path}/a"]) == {"own pid": False, "at": [], "open": [0, 1, 2]}


@pytest.mark.parametrize(("variables", "words"), [
    ("LISTEN_FDS=2", "LISTEN_FDS: file descriptor 4"), ("LISTEN_FDS=many", "LISTEN_FDS: `many` is not a number"),
    ("LISTEN_FDNAMES=a:b", "LISTEN_FDNAMES: 2 names for 1 file descriptors"),
])  # fmt: skip
@pytest.mark.parametrize("verb", ["run", "create", "exec"])
def test_what_cannot_be(finding: Served, tmp_path: pathlib.Path, verb: str, variables: str, words: str) -> None:
    command = f"{verb} --bundle {finding.bundle.path} {finding.name}"
    if verb == "exec":
        finding.bundle.sh("exec sleep 1000")
        finding.run("run", "--detach", "--bundle", finding.bundle.path, finding.name, check=True)
        command = f"exec {finding.name} true"
    script = f"export {variables}; exec {finding.runtime} {command}"
    with pytest.raises(AssertionError, match=words):
        activated("sh", "-c", script, at=[f"{tmp_path}/a"])
    if verb != "exec":
        assert finding.run("state", finding.name).returncode != 0


# -- sockets of our own making


def test_run_makes_the_sockets(finding: Served, tmp_path: pathlib.Path) -> None:
    path = f"{tmp_path}/s"
    options = [
        f"--socket={address}" for address in (f"web={path}", f"@{finding.name}", "w4=127.0.0.1:48201", "[::1]:48202")
    ]
    done = finding.run("run", *options, "--bundle", finding.bundle.path, finding.name, check=True)
    assert json.loads(done.stdout) == {
        "LISTEN_FDS": "4", "LISTEN_FDNAMES": "web:unknown:w4:unknown", "own pid": True, "open": [0, 1, 2, 3, 4, 5, 6],
        "at": [path, str(b"\0" + finding.name.encode()), "('127.0.0.1', 48201)", "('::1', 48202, 0, 0)"],
    }  # fmt: skip
    assert not os.path.exists(path)


def test_they_come_after_those_of_systemd(finding: Served, tmp_path: pathlib.Path) -> None:
    found = activated(
        finding.runtime, "run", f"--socket=mine={tmp_path}/b", "--bundle", finding.bundle.path, finding.name,
        at=[f"{tmp_path}/a"], names="theirs",
    )  # fmt: skip
    assert (found["LISTEN_FDNAMES"], found["at"]) == ("theirs:mine", [f"{tmp_path}/a", f"{tmp_path}/b"])


@pytest.mark.parametrize("verb", ["run", "create"])
def test_a_server_behind_them(served: Served, tmp_path: pathlib.Path, verb: str) -> None:
    """They last as long as the container, whoever stays, and are served from its start."""
    path = tmp_path / "bus"
    served.bundle.args(*BUS)
    options = [f"--socket={path}", "--bundle", str(served.bundle.path)]
    if verb == "create":
        served.run("create", *options, served.name, check=True)
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(str(path))  # it waits in the queue
            served.run("start", served.name, check=True)
    else:
        served.run("run", "--detach", *options, served.name, check=True)
    assert answers(path)
    assert path.stat().st_mode & 0o777 == 0o666
    # another one cannot have it
    other = served.run("run", *options, f"{served.name}-other")
    assert (other.returncode, other.stderr) == (1, f"pyoci: --socket `{path}`: Address already in use\n")
    assert answers(path)
    served.run("delete", "--force", served.name, check=True)
    assert not path.exists()


def test_one_that_was_left_behind_gives_way(finding: Served, tmp_path: pathlib.Path) -> None:
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    done = finding.run("run", "--socket", path, "--bundle", finding.bundle.path, finding.name, check=True)
    assert json.loads(done.stdout)["at"] == [path]
    assert not os.path.exists(path)


@pytest.mark.parametrize(("address", "words"), [
    ("vsock:2", "no address to listen on"), ("nonsense", "no address to listen on"),
    ("{tmp}/absent/s", "No such file or directory"), ("{tmp}/file", "Address already in use"),
    ("192.0.2.7:80", "Cannot assign requested address"),
])  # fmt: skip
def test_where_nobody_can_listen(finding: Served, tmp_path: pathlib.Path, address: str, words: str) -> None:
    (tmp_path / "file").touch()
    given = [f"--socket={tmp_path}/first", f"--socket={address.format(tmp=tmp_path)}"]
    done = finding.run("run", *given, "--bundle", finding.bundle.path, finding.name)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1) and words in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["bundle", "file"]


def test_a_run_that_was_killed_leaves_what_delete_finds(served: Served, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "bus"
    served.bundle.args(*BUS)
    with subprocess.Popen(
        [served.runtime, "run", f"--socket={path}", "--bundle", served.bundle.path, served.name]
    ) as running:
        connect(str(path))
        served.units._wait_until(lambda: answers(path), "an answer")
        running.kill()
    served.run("delete", "--force", served.name, check=True)
    assert not path.exists()


# -- podman takes the sockets itself, and hands them on


def test_podman(podman: Podman, tmp_path: pathlib.Path, wait_until: Callable[..., Any]) -> None:
    path, name = tmp_path / "bus", f"podman-socket-{os.getpid()}"
    volumes = [f"--volume={path}:{path}:ro" for path in ("/usr", "/lib", "/lib64")]
    command = [
        "podman", "--runtime", podman.runtime, "run", "--rm", f"--name={name}", "--network=none", "--pids-limit=0",
        *volumes, podman.image, *BUS,
    ]  # fmt: skip
    with subprocess.Popen(
        ["systemd-socket-activate", f"--listen={path}2", f"--listen={path}", "--fdname=two:one", *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        try:
            connect(str(path))
            assert answers(path) and answers(f"{path}2")
            told = podman("exec", name, "sh", "-c", "tr '\\0' '\\n' </proc/1/environ | grep ^LISTEN | sort").stdout
            assert told.split() == ["LISTEN_FDNAMES=two:one", "LISTEN_FDS=2", "LISTEN_PID=1"]
        finally:
            podman("rm", "--force", "--time=0", name, check=False)
            running.wait(20)
    wait_until(lambda: podman("container", "exists", name, check=False).returncode == 1, "the container to go")

"""A web server in a container that the first request starts: `pyoci@NAME.socket`, of the machine's systemd and a user's.

The server is lighttpd, which takes the sockets it is passed only when LISTEN_PID is its own pid.

Seen red:
    the first request starts it     LISTEN_PID not said; the names in reverse
    a server that looks at the pid  its pid left as it is: it serves
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.needs import SLOWER, needs
from tests.integration.rootless_scene import User, alice, hers
from tests.integration.service_scene import ours
from tests.integration.web_scene import PORT, SERVER, page, with_server

__all__ = ["alice", "hers"]  # fixtures
pytestmark = ours

LIMIT = 64 << 20


class Web:
    """A bundle with a web server that is a service of some manager's, by the unit that we ship."""

    def __init__(
        self, run: Run, command: Callable[..., subprocess.CompletedProcess[str]], name: str, units: pathlib.Path
    ) -> None:
        self.run, self.command, self.name, self.units = run, command, name, units
        self.whose = [] if units.is_relative_to("/etc") else ["--user"]
        self.service, self.socket = f"pyoci@{name}.service", f"pyoci@{name}.socket"
        self.other = f"{name}-other.socket"

    def systemctl(self, *words: str, check: bool = True) -> str:
        """Run systemctl and return what it says."""
        done = self.command("systemctl", *words)
        assert done.returncode == 0 or not check, done
        return done.stdout.strip()

    def shows(self, unit: str, what: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", f"--property={what}", unit)

    @property
    def pid(self) -> int:
        """The server's process."""
        return int(json.loads(self.run("state", self.name, check=True).stdout)["pid"])

    def listens(self, addresses: list[str], elsewhere: str) -> None:
        """Have it listen on `addresses` by the shipped .socket unit, and by another one `elsewhere`."""
        self.run("unit", *self.whose, *(f"--socket={address}" for address in addresses), self.name, check=True)
        # what `pyoci unit` writes anew is another file beside it
        named = self.units / f"{self.socket}.d/name.conf"
        named.write_text("[Socket]\nFileDescriptorName=pages\n")
        (self.units / self.other).write_text(
            f"[Socket]\nListenStream={elsewhere}\nService={self.service}\nFileDescriptorName=other\n"
        )
        self.systemctl("daemon-reload")
        self.systemctl("start", self.socket, self.other)

    def remove(self) -> None:
        """Stop and remove all of it."""
        for unit in (self.socket, self.other, self.service):
            self.systemctl("stop", unit, check=False)
            self.systemctl("reset-failed", unit, check=False)
        (self.units / f"{self.socket}.d/name.conf").unlink(missing_ok=True)
        (self.units / self.other).unlink(missing_ok=True)
        self.run("unit", *self.whose, "--remove", self.name)
        with contextlib.suppress(FileNotFoundError):
            (self.units / f"{self.socket}.d").rmdir()
        self.systemctl("daemon-reload")


def listener(address: str) -> str:
    """Return the socket that listens at an address, as a link in /proc/PID/fd names it."""
    if address.startswith("/"):
        lines = [line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()]
        [inode] = [line[6] for line in lines if line[7:] == [address]]
    else:
        lines = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()]
        place = f":{int(address.rpartition(':')[2]):04X}"
        [inode] = [line[9] for line in lines if line[1].endswith(place) and line[3] == "0A"]
    return f"socket:[{inode}]"


@pytest.fixture
def of_root(run: Run, bundle: Bundle, container_id: str) -> Iterator[Web]:
    """Return a web server of the machine's systemd."""

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, timeout=60 * SLOWER)

    place, units = pathlib.Path("/var/lib/pyoci"), pathlib.Path("/etc/systemd/system")
    place.mkdir(exist_ok=True)
    with_server(bundle)
    (place / container_id).symlink_to(bundle.path)
    web = Web(run, command, container_id, units)
    yield web
    web.remove()
    (place / container_id).unlink()


@pytest.fixture
def of_alice(alice: User, hers: Any) -> Iterator[Web]:
    """Return the same of a user's."""

    def command(systemctl: str, *words: str) -> subprocess.CompletedProcess[str]:
        return alice.does(systemctl, "--user", "--no-pager", *words)

    place, units = alice.home / ".local/share/pyoci", alice.home / ".config/systemd/user"
    alice.does("mkdir", "-p", place, units, check=True)
    if "memory" in alice.controllers:
        hers.config["linux"]["resources"] = {"memory": {"limit": LIMIT}}
    with_server(hers.bundle)
    (place / hers.name).symlink_to(hers.bundle.path)
    web = Web(alice.run, command, hers.name, units)
    yield web
    web.remove()
    (place / hers.name).unlink()


OF_ALICE = pytest.param("alice", marks=needs("memory controller", "pids controller"), id="alice, with controllers")


@pytest.mark.parametrize("whose", ["root", "alice", OF_ALICE])
def test_the_first_request_starts_it(whose: str, alice: User, request: pytest.FixtureRequest) -> None:
    web: Web = request.getfixturevalue(f"of_{whose}")
    directory = alice.directory if whose == "alice" else "/run"
    addresses = [f"127.0.0.1:{PORT}", f"{directory}/{web.name}-b", f"{directory}/{web.name}-a"]
    elsewhere = f"{directory}/{web.name}-c"
    web.listens(addresses, elsewhere)
    assert web.shows(web.service, "ActiveState") == "inactive"
    assert web.run("state", web.name).returncode == 1, "it is there already"

    assert page(addresses[0]) == "hello"
    assert web.shows(web.service, "ActiveState") == "active"
    status = web.systemctl("status", "--lines=0", "--full", web.service)
    assert f"{web.pid} {' '.join(SERVER)}" in status and f"● {web.socket}" in status

    # what it found: its own pid, and each socket by its name; those of one unit in the order in which they stand there
    entries = [entry.partition("=") for entry in pathlib.Path(f"/proc/{web.pid}/environ").read_text().split("\0")]
    told = {name: value for name, _, value in entries if name.startswith("LISTEN_")}
    assert (told["LISTEN_FDS"], told["LISTEN_PID"]) == ("4", "1")
    found = [str(pathlib.Path(f"/proc/{web.pid}/fd/{fd}").readlink()) for fd in range(3, 7)]
    names = told["LISTEN_FDNAMES"].split(":")
    by_name = {name: [link for n, link in zip(names, found, strict=True) if n == name] for name in names}
    assert by_name == {"pages": [listener(address) for address in addresses], "other": [listener(elsewhere)]}
    assert [page(address) for address in (*addresses[1:], elsewhere)] == ["hello"] * 3
    if whose == "alice" and request.node.get_closest_marker("needs"):
        cgroup = pathlib.Path("/sys/fs/cgroup" + web.shows(web.service, "ControlGroup"))
        assert (cgroup / "container/memory.max").read_text() == f"{LIMIT}\n"

    # it is stopped, the sockets stay, and a request to any of them starts it again
    for address in (addresses[2], elsewhere):
        first = web.pid
        web.systemctl("stop", web.service)
        assert (web.shows(web.service, "ActiveState"), web.shows(web.service, "Result")) == ("inactive", "success")
        assert web.run("state", web.name).returncode == 1
        assert web.shows(web.socket, "SubState") == "listening"
        assert page(address) == "hello"
        assert web.pid != first


def test_a_server_that_looks_at_the_pid(run: Run, bundle: Bundle, container_id: str) -> None:
    """It takes no socket that is not meant for it: it makes its own, where there is one already."""
    config = with_server(bundle).config
    config["linux"]["namespaces"] = [kind for kind in config["linux"]["namespaces"] if kind["type"] != "network"]
    bundle.sh(f"export LISTEN_PID=4711; exec {' '.join(SERVER)}")
    done = run("run", f"--socket=127.0.0.1:{PORT}", "--bundle", bundle.path, container_id)
    assert done.returncode == 255
    assert f"127.0.0.1:{PORT}: Address already in use" in done.stderr

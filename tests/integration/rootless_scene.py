"""A user without privileges, in a session that lasts: what the tests of rootless containers run as.

`alice` has ids of her own in /etc/subuid and /etc/subgid, `bob` has none. Both have a systemd of their own (lingering).
Their commands come from outside of it, as from a login session; `inside=True` runs one as a service of it, which is
where its cgroups may be entered without help.
"""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Bundle, Container, ids
from tests.integration.needs import needs

ANY_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 300.0  # the virtual machine is slow


class User:
    """A user of the machine, and her session."""

    def __init__(self, name: str, runtime: str) -> None:
        self.name, self.runtime = name, runtime
        self.uid = pwd.getpwnam(name).pw_uid
        self.home = pathlib.Path(pwd.getpwnam(name).pw_dir)
        self.directory = pathlib.Path(f"/run/user/{self.uid}")
        self.environ = {"PATH": ANY_PATH, "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.directory)}

    def prefix(self, env: Mapping[str, str] | None = None) -> list[str]:
        """Return what makes a command the user's, with `env` in place of the session's environment."""
        environment = [f"{name}={value}" for name, value in (self.environ if env is None else env).items()]
        return ["runuser", "--user", self.name, "--", "env", "-i", *environment]

    def does(
        self, *command: str | os.PathLike[str], check: bool = False, input: str | None = None,
        cwd: str | os.PathLike[str] | None = None, env: Mapping[str, str] | None = None,
        timeout: float = SECONDS, inside: bool = False,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command as the user; `env` is all that it gets in place of the session's environment."""
        prefix = self.prefix(env)
        if inside:
            service = ["systemd-run", "--user", f"--machine={self.name}@", "--quiet", "--pipe", "--wait", "--collect"]
            prefix = [*service, *(["--working-directory", os.fspath(cwd)] if cwd else []), "--"]
        # output goes to files: a pipe would be held open by a container that lives on, and never end
        with open(os.memfd_create("stdout"), "w+") as out, open(os.memfd_create("stderr"), "w+") as err:
            stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
            done = subprocess.run(
                [*prefix, *command], stdout=out, stderr=err, text=True, cwd=cwd or self.home, timeout=timeout, **stdin
            )
            out.seek(0), err.seek(0)
            result = subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())
        if check:
            assert result.returncode == 0, result
        return result

    def run(self, *args: str | os.PathLike[str], **how: Any) -> subprocess.CompletedProcess[str]:
        """Run the runtime under test as the user."""
        manager = ["--systemd-cgroup"] if CRUN else []
        return self.does(self.runtime, *manager, *args, **how)

    def systemctl(self, *args: str, check: bool = False) -> str:
        """Return what the user's systemd says."""
        return self.does("systemctl", "--user", "--no-pager", *args, check=check).stdout

    def shows(self, unit: str, what: str) -> str:
        """Return a property of a unit of hers."""
        return self.systemctl("show", "--value", f"--property={what}", unit).strip()

    @property
    def controllers(self) -> list[str]:
        """The cgroup controllers that the user's systemd may use."""
        slice = f"user.slice/user-{self.uid}.slice/user@{self.uid}.service"
        return pathlib.Path("/sys/fs/cgroup", slice, "cgroup.controllers").read_text().split()

    def bundle(self, rootfs: pathlib.Path, *options: str) -> Bundle:
        """Return a bundle of the user's, with the config that the runtime writes for her."""
        path = self.home / f"bundle-{next(ids)}"
        path.mkdir()
        shutil.copytree(rootfs, path / "rootfs", symlinks=True)
        subprocess.run(["chown", "--recursive", "--no-dereference", f"{self.uid}:{self.uid}", path], check=True)
        self.does(self.runtime, "spec", *options, cwd=path, check=True)
        config = json.loads((path / "config.json").read_text())
        config["process"]["terminal"] = False
        return Bundle(path, config).args("true")

    def leftovers(self) -> list[str]:
        """Return what there is of containers: state, units, cgroups."""
        state = [str(path) for path in self.directory.glob("pyoci/[!.]*")]
        units = [
            line.split()[0] for line in self.systemctl("list-units", "--all", "--plain", "--no-legend").splitlines()
        ]
        below = pathlib.Path(f"/sys/fs/cgroup/user.slice/user-{self.uid}.slice/user@{self.uid}.service")
        cgroups = [str(path) for path in below.rglob("*.scope") if path.name.startswith(("pyoci-", "test-"))]
        return [*state, *(unit for unit in units if unit.startswith(("pyoci-", "libpod-"))), *cgroups]


def settled(user: User) -> list[str]:
    """Return what is left when systemd has had the time to tidy up."""
    deadline = time.monotonic() + 3
    while (left := user.leftovers()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def begin(name: str, runtime: str) -> User:
    """Make a user whose session lasts, and wait for the bus in it."""
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True, capture_output=True)
    subprocess.run(["loginctl", "enable-linger", name], check=True)
    user = User(name, runtime)
    # started already: this waits until it has
    subprocess.run(["systemctl", "start", f"user@{user.uid}.service"], check=True, timeout=SECONDS)
    assert (user.directory / "bus").exists()
    return user


def end(user: User) -> None:
    """Remove the user and all that runs for her."""
    subprocess.run(["loginctl", "disable-linger", user.name], check=True)
    subprocess.run(["loginctl", "terminate-user", user.name], capture_output=True)
    deadline = time.monotonic() + SECONDS
    # her directory goes after her last process, and is missed by whoever counts mounts meanwhile
    while (
        subprocess.run(["pgrep", "--uid", str(user.uid)], capture_output=True).returncode == 0
        or user.directory.exists()
    ):
        assert time.monotonic() < deadline, f"{user.name} does not go"
        time.sleep(0.05)
    subprocess.run(["userdel", "--remove", user.name], check=True, capture_output=True)


# a test that runs in the virtual machine too, whose users have controllers
everywhere = pytest.mark.parametrize("where", [
    "here", pytest.param("with controllers", marks=needs("memory controller", "pids controller")),
])  # fmt: skip


@pytest.fixture(scope="module")
def alice(runtime: str) -> Iterator[User]:
    """Return a user who may map 65536 ids besides her own."""
    user = begin("alice", runtime)
    yield user
    end(user)


@pytest.fixture(scope="module")
def bob(runtime: str) -> Iterator[User]:
    """Return a user who may map his own id and nothing else, and is in the group `games`."""
    user = begin("bob", runtime)
    for kind in ("uid", "gid"):
        listed = pathlib.Path(f"/etc/sub{kind}")
        listed.write_text("".join(line for line in listed.read_text().splitlines(True) if not line.startswith("bob:")))
    subprocess.run(["usermod", "--append", "--groups", "games", "bob"], check=True)
    yield user
    end(user)


@pytest.fixture
def hers(alice: User, busybox_rootfs: pathlib.Path) -> Iterator[Container]:
    """Return a container of alice's that does not exist yet; nothing of it may be left when the test ends."""
    yield from contained(alice, busybox_rootfs)


@pytest.fixture
def her_service(alice: User, hers: Container) -> Iterator[str]:
    """Return the unit of alice's that runs `hers`: its bundle is where the shipped unit looks for it."""
    place = alice.home / ".local/share/pyoci"
    alice.does("mkdir", "-p", place, check=True)
    (place / hers.name).symlink_to(hers.bundle.path)
    unit = f"pyoci@{hers.name}.service"
    yield unit
    alice.systemctl("kill", "--signal=KILL", unit)
    alice.systemctl("stop", unit)
    alice.systemctl("reset-failed", unit)
    alice.run("unit", "--user", "--remove", hers.name)
    alice.systemctl("daemon-reload")
    (place / hers.name).unlink()


@pytest.fixture
def his(bob: User, busybox_rootfs: pathlib.Path) -> Iterator[Container]:
    """Return the same of bob's."""
    yield from contained(bob, busybox_rootfs)


def contained(user: User, rootfs: pathlib.Path) -> Iterator[Container]:
    bundle = user.bundle(rootfs, "--rootless")
    for kind in ("uid", "gid"):  # crun's default has none, and then maps all that there is
        bundle.config["linux"][f"{kind}Mappings"] = [{"containerID": 0, "hostID": user.uid, "size": 1}]
    name = f"test-{os.getpid()}-{next(ids)}"
    yield Container(user.run, bundle, name)
    user.run("delete", "--force", name)
    shutil.rmtree(bundle.path)
    assert settled(user) == []

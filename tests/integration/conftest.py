"""What the integration tests share. They run as root inside the test machine: `make integration SUITE=trixie K=name`.

Every test is wrapped in a leak check: what it leaves of units, cgroups, mounts, processes, state, ptys, files in /tmp
or /dev/shm, and open descriptors of ours, fails it. A test that runs a container takes its name from `container_id`;
that container is deleted by force afterwards, so that one failed test spoils no other. What is to last longer than a
test belongs in a session fixture: those are set up before the check counts.

runtime       path of the runtime under test ($RUNTIME, /usr/bin/pyoci)
run           run("state", id) runs the runtime and returns a CompletedProcess with text; check=True, input=, cwd=, env=
container_id  a name no other test has
bundle        a Bundle: busybox's applets in `rootfs`, the runtime's default config, no terminal, running `true`
podman        podman("run", "--rm", podman.image, "true") runs podman with our runtime; no network, no limits
container     a Container of `bundle`: container.says("id -u") returns what a shell inside says, container.refused() …
wait_until    wait_until(lambda: …, "what is awaited") returns the first true value, or fails after 5 seconds
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import pytest

from tests.integration import leaks, needs
from tests.integration.needs import SLOWER

T = TypeVar("T")
BUSYBOX = pathlib.Path("/bin/busybox")
CRUN = pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name == "crun"
ids = itertools.count(1)


class Run(Protocol):
    """Run the runtime under test with arguments."""

    def __call__(
        self,
        *args: str | os.PathLike[str],
        check: bool = False,
        input: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 20.0,
    ) -> subprocess.CompletedProcess[str]: ...


class Bundle:
    """A bundle to change: `config` is what `write()` puts into config.json."""

    def __init__(self, path: pathlib.Path, config: dict[str, Any]) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        self.config = config

    def write(self) -> Bundle:
        """Write config.json."""
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self

    def args(self, *args: str) -> Bundle:
        """Make the container run `args`, and write config.json."""
        self.config["process"]["args"] = list(args)
        return self.write()

    def sh(self, script: str) -> Bundle:
        """Make the container run a shell script, and write config.json."""
        return self.args("sh", "-c", script)


class Container:
    """One container of a bundle, by the runtime under test; each verb but `refused` fails the test if it fails."""

    def __init__(self, run: Run, bundle: Bundle, name: str) -> None:
        self.run, self.bundle, self.name = run, bundle, name
        self.config = bundle.config

    def says(self, script: str, *options: str | os.PathLike[str]) -> str:
        """Run a shell script as the container's program, from create to delete; return what it prints."""
        self.bundle.sh(script)
        return self.run("run", *options, "--bundle", self.bundle.path, self.name, check=True).stdout.rstrip("\n")

    def create(self, script: str = "exec sleep 1000", *options: str | os.PathLike[str]) -> None:
        """Create it; its program will be a shell script."""
        self.bundle.sh(script)
        self.run("create", *options, "--bundle", self.bundle.path, self.name, check=True)

    def start(self) -> None:
        """Start it."""
        self.run("start", self.name, check=True)

    def delete(self) -> None:
        """Delete it by force."""
        self.run("delete", "--force", self.name, check=True)

    def state(self) -> dict[str, Any]:
        """Return what the runtime says of it."""
        answer: dict[str, Any] = json.loads(self.run("state", self.name, check=True).stdout)
        return answer

    def refused(self, *words: str) -> str:
        """Fail unless create fails and leaves no container; return what it says.

        `words` must be in that when the runtime is ours, which names the path in config.json: here `mounts.0.type`.
        """
        self.bundle.write()
        done = self.run("create", "--bundle", self.bundle.path, self.name)
        assert done.returncode != 0, "the runtime took it"
        assert done.stderr.strip(), "no word about the reason"
        assert self.run("state", self.name).returncode != 0, "there is a container all the same"
        if not CRUN:
            for word in words:
                assert re.sub(r"\.(\d+)", r"[\1]", word) in done.stderr
        return done.stderr


def pytest_configure() -> None:
    """Refuse to run on a machine that is not made for it."""
    if os.environ.get("PYOCI_MACHINE") not in ("1", "vm"):
        raise pytest.UsageError("the integration tests run inside the test machine: `make integration`")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot do."""
    needs.check(item)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves anything behind."""
    before = leaks.snapshot()
    yield
    if difference := leaks.leaked(before):
        pytest.fail("the test left the machine changed:\n" + "\n".join(difference), pytrace=False)


@pytest.fixture(scope="session")
def runtime() -> str:
    """Return the path of the runtime under test."""
    path = shutil.which(os.environ.get("RUNTIME") or "/usr/bin/pyoci")
    assert path, "the runtime under test is not installed"
    return path


@pytest.fixture
def run(runtime: str) -> Run:
    """Return what runs the runtime under test."""

    def call(
        *args: str | os.PathLike[str],
        check: bool = False,
        input: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 20.0,
    ) -> subprocess.CompletedProcess[str]:
        # output goes to files: a pipe would be held open by a container that lives on, and never end
        with open(os.memfd_create("stdout"), "w+") as out, open(os.memfd_create("stderr"), "w+") as err:
            stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
            done = subprocess.run(
                [runtime, *args], stdout=out, stderr=err, text=True, cwd=cwd, env=env, timeout=timeout * SLOWER, **stdin
            )
            out.seek(0), err.seek(0)
            result = subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())
        if check:
            assert result.returncode == 0, result
        return result

    return call


@pytest.fixture
def container_id(run: Run) -> Iterator[str]:
    """Return a new container name; delete the container of that name when the test ends, if it still exists."""
    name = f"test-{os.getpid()}-{next(ids)}"
    yield name
    run("delete", "--force", name)


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a root filesystem of busybox alone, for `bundle` to copy."""
    root = tmp_path_factory.mktemp("busybox") / "rootfs"
    for directory in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (root / directory).mkdir(parents=True)
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in set(applets) - {"busybox"}:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    return root


@pytest.fixture(scope="session")
def default_config(tmp_path_factory: pytest.TempPathFactory, runtime: str) -> str:
    """Return the config that the runtime under test writes."""
    path = tmp_path_factory.mktemp("spec")
    subprocess.run([runtime, "spec"], cwd=path, check=True, timeout=10 * SLOWER)
    return (path / "config.json").read_text()


@pytest.fixture
def bundle(tmp_path: pathlib.Path, default_config: str, busybox_rootfs: pathlib.Path) -> Bundle:
    """Return a bundle that runs `true`, made from the default config of the runtime under test."""
    path = tmp_path / "bundle"
    shutil.copytree(busybox_rootfs, path / "rootfs", symlinks=True)
    config = json.loads(default_config)
    config["process"]["terminal"] = False
    return Bundle(path, config).args("true")


@pytest.fixture
def container(run: Run, bundle: Bundle, container_id: str) -> Container:
    """Return a container of `bundle` that does not exist yet."""
    return Container(run, bundle, container_id)


class Podman:
    """Podman with the runtime under test, and one image of busybox."""

    image = "localhost/busybox"

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime

    def __call__(self, verb: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run podman with a verb; `run` and `create` get no network, and no limit that the host cannot give."""
        limits = ["--network=none", "--pids-limit=0"] if verb in ("run", "create") else []
        command = ["podman", "--runtime", self.runtime, verb, *limits, *args]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30 * SLOWER)
        if check:
            assert done.returncode == 0, done
        return done


@pytest.fixture(scope="session")
def podman(runtime: str, busybox_rootfs: pathlib.Path) -> Iterator[Podman]:
    """Return podman, with what it makes at its first use (storage, locks) already made."""
    client = Podman(runtime)
    archive = busybox_rootfs.with_suffix(".tar")
    subprocess.run(["tar", "-C", busybox_rootfs, "-cf", archive, "."], check=True)
    client("import", "--quiet", str(archive), client.image)
    client("rm", client("create", client.image, "true").stdout.strip())
    yield client
    client("rmi", "--force", client.image)


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Return what waits for a condition, with a deadline."""

    def wait(condition: Callable[[], T], what: str = "the condition", seconds: float = 5.0) -> T:
        deadline = time.monotonic() + seconds * SLOWER
        while not (value := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds * SLOWER:g} s for {what}")
            time.sleep(0.01)
        return value

    return wait

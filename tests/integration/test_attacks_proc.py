"""A /proc that is not the kernel's: CVE-2019-16884, CVE-2025-52881; and mappings beyond what fits: CVE-2021-43784.

Kernel parameters and labels are written to a procfs of the init's own, whatever stands on /proc. The machine has
neither SELinux nor AppArmor: there a label that goes to the kernel is refused by it, and one that lands in a file is not.

Seen red:
    a parameter, a label          written by name below /proc: to each false one
    a label of exec               the same
    too many mappings             the whole map in the error line, of 70 kB; refused only when there was a namespace already
    a path of 70 kB               the reason cut off with the end of the line
"""

from __future__ import annotations

import errno
import json
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd.plan import ops
from tests.integration.attack_play import Joiner, Stage
from tests.integration.attack_scene import assert_refused, lean
from tests.integration.conftest import Bundle, Run
from tests.integration.exec_scene import ours

QUICK = "--cgroup-manager=disabled"
PARAMETER, VALUE = "net.ipv4.ip_default_ttl", "77"
ATTRIBUTES = ("self/attr/exec", "self/attr/keycreate", "self/attr/apparmor/exec")
FILES = ("sys/net/ipv4/ip_default_ttl", *ATTRIBUTES, *(name.replace("self", "thread-self") for name in ATTRIBUTES))


class FalseProc:
    """A directory like /proc, with empty files where the runtime would write."""

    def __init__(self, path: pathlib.Path) -> None:
        self.files = [path / name for name in FILES]
        for file in self.files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        self.path = path

    def assert_unwritten(self) -> None:
        assert [file for file in self.files if file.read_text()] == []


def no_mount(bundle: Bundle, false: pathlib.Path) -> None:
    bundle.config["mounts"] = []
    (bundle.rootfs / "proc").rmdir()
    false.rename(bundle.rootfs / "proc")
    false.symlink_to(bundle.rootfs / "proc")


def bound(bundle: Bundle, false: pathlib.Path, *, over: str = "/proc") -> None:
    source = false if over == "/proc" else false / over.removeprefix("/proc/")
    entry = {"destination": over, "type": "bind", "source": str(source), "options": ["bind", "rw"]}
    bundle.config["mounts"].append(entry)


def alone(bundle: Bundle, false: pathlib.Path) -> None:
    bundle.config["mounts"] = []
    bound(bundle, false)


def linked(bundle: Bundle, false: pathlib.Path) -> None:
    """A tmpfs on /proc, in which everything is a link to the false one."""
    image = bundle.rootfs / "image"
    false.rename(image)
    false.symlink_to(image)
    (bundle.rootfs / "proc").rmdir()
    (bundle.rootfs / "proc").mkdir()
    for name in ("sys", "self", "thread-self"):
        (bundle.rootfs / "proc" / name).symlink_to(f"/image/{name}")
    bundle.config["mounts"] = [{"destination": "/proc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}]


FAKES: dict[str, Callable[[Bundle, pathlib.Path], object]] = {
    "of the image": no_mount,
    "bound": alone,
    "bound over the real one": bound,
    "bound over the parameter": lambda bundle, false: bound(bundle, false, over="/proc/sys/net/ipv4/ip_default_ttl"),
    "links in a tmpfs": linked,
}


@pytest.fixture
def false(tmp_path: pathlib.Path, bundle: Bundle) -> FalseProc:
    lean(bundle)
    bundle.config["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["destination"] == "/proc"]
    return FalseProc(tmp_path / "false")


def parameter(pid: int) -> str:
    """Return the parameter as it is in the network namespace of a process."""
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


@pytest.mark.parametrize("fake", FAKES.values(), ids=FAKES)
def test_a_parameter_is_the_kernels(
    run: Run, bundle: Bundle, container_id: str, false: FalseProc, fake: Callable[[Bundle, pathlib.Path], object]
) -> None:
    """It is set, or all is refused; what looks like it is not written to."""
    fake(bundle, false.path)
    bundle.config["linux"]["sysctl"] = {PARAMETER: VALUE}
    bundle.args("sleep", "1000")
    done = run(QUICK, "run", "--detach", "--bundle", bundle.path, container_id)
    false.assert_unwritten()
    assert (done.returncode, done.stderr) == (0, "")
    assert parameter(json.loads(run("state", container_id, check=True).stdout)["pid"]) == VALUE


LABELS: dict[str, tuple[dict[str, str], dict[str, object], int]] = {
    "label": ({"selinuxLabel": "system_u:system_r:container_t:s0"}, {"selinux": True}, errno.EINVAL),
    "profile": ({"apparmorProfile": "docker-default"}, {"apparmor": "unconfined"}, errno.ENOENT),
    "stacked profile": ({"apparmorProfile": "inner"}, {"apparmor": "outer (enforce)"}, errno.ENOENT),
}


@pytest.mark.parametrize("fake", FAKES.values(), ids=FAKES)
@pytest.mark.parametrize(("asked", "facts", "error"), LABELS.values(), ids=LABELS)
def test_a_label_goes_to_the_kernel(
    runtime: str, bundle: Bundle, false: FalseProc, asked: dict[str, str], facts: dict[str, object], error: int,
    fake: Callable[[Bundle, pathlib.Path], object],
) -> None:  # fmt: skip
    fake(bundle, false.path)
    bundle.config["process"] |= asked
    stage = Stage(bundle.write(), runtime, **facts)
    with stage.play() as waiting:
        failed = stage.plan.ops[waiting.failed]
        assert (waiting.error, type(failed) in (ops.SelinuxLabel, ops.KeyLabel, ops.AppArmor)) == (error, True)
    false.assert_unwritten()


@pytest.mark.parametrize("fake", FAKES.values(), ids=FAKES)
@pytest.mark.parametrize(("asked", "facts", "error"), LABELS.values(), ids=LABELS)
def test_a_label_of_exec_goes_to_the_kernel(
    run: Run, runtime: str, bundle: Bundle, container_id: str, false: FalseProc, asked: dict[str, str],
    facts: dict[str, object], error: int, fake: Callable[[Bundle, pathlib.Path], object],
) -> None:  # fmt: skip
    """What enters a container writes to the host's procfs, at which it has looked before."""
    fake(bundle, false.path)
    bundle.args("sleep", "1000")
    run(QUICK, "run", "--detach", "--bundle", bundle.path, container_id, check=True)
    pid = json.loads(run("state", container_id, check=True).stdout)["pid"]
    joiner = Joiner(bundle, runtime, pid, **facts)
    plan = joiner.ops("true", **asked)
    _, failed = joiner.play(plan)
    assert failed
    assert (failed.error, type(plan[failed.index]) in (ops.SelinuxLabel, ops.AppArmor)) == (error, True)
    false.assert_unwritten()


# -- too many mappings

# a line of numbers of ten digits takes 33 bytes; the kernel takes 340 lines, and a page of them
TOO_MANY = {"a line too many": (341, 0), "more than a page": (340, 4_000_000_000), "70 kB": (3000, 4_000_000_000)}


@pytest.mark.parametrize(("count", "first"), TOO_MANY.values(), ids=TOO_MANY)
@pytest.mark.parametrize("what", ["uidMappings", "gidMappings", "both", "of a mount", "in an option"])
def test_too_many_mappings(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, what: str, count: int, first: int
) -> None:
    many = [{"containerID": first + n, "hostID": first + n, "size": 1} for n in range(count)]
    few = [{"containerID": 0, "hostID": 100_000, "size": 1000}]
    lean(bundle)
    if what in ("of a mount", "in an option"):
        entry: dict[str, Any] = {"destination": "/m", "type": "bind", "source": str(tmp_path), "options": ["bind"]}
        if what == "of a mount":
            entry |= {"uidMappings": many, "gidMappings": many}
        else:
            text = "#".join(f"{one['containerID']}-{one['hostID']}-1" for one in many)
            entry["options"] = ["bind", f"idmap=uids={text};gids={text}"]
        bundle.config["mounts"].append(entry)
    else:
        bundle.config["linux"]["namespaces"].append({"type": "user"})
        bundle.config["linux"] |= {
            name: many if what in (name, "both") else few for name in ("uidMappings", "gidMappings")
        }
    bundle.write()
    done = run(QUICK, "run", "--bundle", bundle.path, container_id)
    assert_refused(done, "appings", "_map", ".options: ")
    assert len(done.stderr) < 500


LONG = "x" * 70_000
PATHS: dict[str, Callable[[dict[str, Any]], object]] = {
    "root.path": lambda config: config["root"].update(path=f"/{LONG}"),
    "mounts.destination": lambda config: config["mounts"].append({"destination": f"/{LONG}", "type": "tmpfs"}),
    "mounts.destination of many names": lambda config: config["mounts"].append(
        {"destination": "/x" * 35_000, "type": "tmpfs"}
    ),
    "mounts.source": lambda config: config["mounts"].append(
        {"destination": "/m", "source": f"/{LONG}", "options": ["bind"]}
    ),
    "process.cwd": lambda config: config["process"].update(cwd=f"/{LONG}"),
    "process.args": lambda config: config["process"].update(args=[LONG]),
    "linux.maskedPaths": lambda config: config["linux"].update(maskedPaths=[f"/{LONG}"]),
    "linux.readonlyPaths": lambda config: config["linux"].update(readonlyPaths=["/x" * 35_000]),
    "linux.cgroupsPath": lambda config: config["linux"].update(cgroupsPath=f"/{LONG}"),
    "linux.namespaces.path": lambda config: config["linux"].update(
        namespaces=[{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": f"/{LONG}"}]
    ),
    "hostname": lambda config: config.update(hostname=LONG),
}


@ours  # crun 1.21 fails some of these, with words of its own
@pytest.mark.parametrize("change", PATHS.values(), ids=PATHS)
def test_a_path_of_70_kb(
    run: Run, bundle: Bundle, container_id: str, change: Callable[[dict[str, Any]], object]
) -> None:
    change(bundle.config)
    bundle.write()
    done = run("run", "--bundle", bundle.path, container_id)
    assert done.returncode and len(done.stderr) < 11_000, len(done.stderr)
    assert_refused(done, "too long", "64")

"""The configs that clients really send (tests/goldens/clients) run: with a bundle of ours, and no more changed than that takes."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.needs import needs
from tests.unit.captured import CONFIGS, captured

# what this machine cannot do, whoever asks it
BEYOND = {
    "ctr-rdt": "resctrl",
}

ONLY_V1 = {"podman-swappiness"}  # asks for what cgroup v2 has not, and is refused


def adapt(config: Any, bundle: Bundle, name: str, *, whole: bool = False) -> None:
    """Put what belongs to the client's machine in terms of this one; `whole` leaves what not every machine can do."""
    config["root"]["path"] = str(bundle.rootfs)
    config["process"] |= {"args": ["/bin/busybox", "true"], "terminal": False}
    config.pop("hooks", None)
    linux = config["linux"]
    linux["cgroupsPath"] = f"system.slice:test:{name}"
    if not whole:
        for privilege in ("oomScoreAdj", "rlimits"):
            config["process"].pop(privilege, None)
        linux["resources"] = {"devices": linux["resources"].get("devices")}
    for namespace in linux["namespaces"]:
        namespace.pop("path", None)
    config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "overlay"]
    for index, mount in enumerate(config["mounts"]):
        if mount["type"] == "bind" and not pathlib.Path(mount["source"]).exists():
            mount["source"] = str(source(bundle.path / f"source-{name}-{index}", mount["destination"]))


def limited() -> list[str]:
    """Return the configs that ask for limits, one of each that ask for the same."""
    different = {}
    for name in sorted(set(CONFIGS) - BEYOND.keys() - ONLY_V1):
        config = captured(name)
        asked = {**config["linux"]["resources"], "devices": None}
        different[json.dumps([asked, config["process"].get("rlimits")], sort_keys=True)] = name
    return sorted(different.values())


def source(path: pathlib.Path, destination: str) -> pathlib.Path:
    """Make what is bound: a directory for what clients bind as one, else a file."""
    if pathlib.PurePath(destination).name in ("data", "shm", "vol", "m", "shared", "slave", "ro", "data-ro"):
        path.mkdir()
    else:
        path.write_text("bound\n")
    return path


def give(rootfs: pathlib.Path, linux: Any) -> None:
    """Make the container's root the owner of its root filesystem."""
    owner, group = (linux.get(member, [{"hostID": 0}])[0]["hostID"] for member in ("uidMappings", "gidMappings"))
    if rootfs.stat().st_uid != owner or rootfs.stat().st_gid != group:
        subprocess.run(["chown", "-R", f"{owner}:{group}", rootfs], check=True)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs("id-mapped tmpfs")) if name == "podman-idmap-mount" else name for name in CONFIGS],
)
def test_it_runs(run: Run, bundle: Bundle, container_id: str, name: str) -> None:
    if name in BEYOND:
        pytest.skip(f"the machine lacks {BEYOND[name]}")
    runs(run, bundle, container_id, name)


@needs("CAP_SYS_RESOURCE", *(f"{name} controller" for name in ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")))
def test_it_runs_with_its_limits(run: Run, bundle: Bundle, container_id: str) -> None:
    """One test for all: what a test costs besides would be most of it in a virtual machine."""
    done = {name: ending(run, bundle, f"{container_id}-{name}", name, whole=True) for name in limited()}
    assert done == dict.fromkeys(done, ("", "", 0))


def runs(run: Run, bundle: Bundle, container_id: str, name: str) -> None:
    """Fail unless a container of the config of `name` ends well and without a word."""
    assert ending(run, bundle, container_id, name) == ("", "", 0)


def ending(run: Run, bundle: Bundle, container_id: str, name: str, *, whole: bool = False) -> tuple[str, str, int]:
    """Return what a container of the config of `name` writes to stderr and to stdout, and its exit status."""
    bundle.config = captured(name)
    adapt(bundle.config, bundle, container_id, whole=whole)
    give(bundle.rootfs, bundle.config["linux"])
    for directory in (bundle.rootfs, *bundle.rootfs.parents[:-2]):  # users of the container go there
        directory.chmod(0o755)
    bundle.write()
    done = run("run", "--bundle", bundle.path, container_id)
    if done.returncode:
        run("delete", "--force", container_id)
    return done.stderr, done.stdout, done.returncode


def test_a_read_only_dev_has_all_that_belongs_there(run: Run, bundle: Bundle, container_id: str) -> None:
    """Podman's pods have one: what stands in it is made before it is closed."""
    next(mount for mount in bundle.config["mounts"] if mount["destination"] == "/dev")["options"].append("ro")
    bundle.sh("true >/dev/new || echo closed; echo >/dev/null && test -c /dev/pts/ptmx && ls -d /dev/shm")
    done = run("run", "--bundle", bundle.path, container_id)
    assert (done.stdout, done.returncode) == ("closed\n/dev/shm\n", 0), done.stderr

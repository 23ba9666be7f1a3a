"""What `pyoci spec` writes, held against the machine's other runtimes and the rules of the house."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoci_systemd.spec.defaults import default_config
from pyoci_systemd.spec.load import load


@pytest.mark.parametrize("rootless", [False, True])
def test_is_accepted(rootless: bool) -> None:
    config: Any = default_config(rootless, 1000, 1000)
    assert load(json.dumps(config).encode()) == config


@pytest.mark.parametrize("rootless", [False, True])
def test_no_capability_outlives_an_exec(rootless: bool) -> None:  # CVE-2022-29162
    capabilities: Any = default_config(rootless)["process"]["capabilities"]
    assert set(capabilities) == {"bounding", "effective", "permitted"}
    for names in capabilities.values():
        assert names == ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def test_each_config_is_fresh() -> None:
    first: Any = default_config()
    first["mounts"][3]["options"].append("x")
    first["process"]["capabilities"]["bounding"].clear()
    first["linux"]["maskedPaths"].clear()
    second: Any = default_config()
    assert "x" not in second["mounts"][3]["options"]
    assert second["mounts"][4]["options"] == ["nosuid", "noexec", "nodev"]
    assert second["process"]["capabilities"]["bounding"]
    assert second["linux"]["maskedPaths"]


def test_namespaces() -> None:
    def kinds(config: Any) -> set[str]:
        return {entry["type"] for entry in config["linux"]["namespaces"]}

    assert kinds(default_config()) == {"pid", "network", "ipc", "uts", "mount", "cgroup"}
    assert kinds(default_config(rootless=True)) == {"pid", "user", "ipc", "uts", "mount", "cgroup"}


def test_rootless_asks_for_what_a_user_may_do() -> None:
    config: Any = default_config(rootless=True, uid=1000, gid=100)
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert config["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert "resources" not in config["linux"]  # device rules need a delegated cgroup and CAP_BPF
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    assert "gid=5" not in mounts["/dev/pts"]["options"]  # not mapped: EINVAL
    assert "rbind" in mounts["/sys"]["options"]  # a new sysfs: EPERM


@pytest.mark.parametrize("rootless", [False, True])
def test_parents_are_mounted_before_children(rootless: bool) -> None:
    seen: list[str] = []
    for mount in default_config(rootless)["mounts"]:
        assert not any(earlier.startswith(mount["destination"] + "/") for earlier in seen)
        seen.append(mount["destination"])
    assert seen == ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]

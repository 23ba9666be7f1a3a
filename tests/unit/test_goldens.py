"""The plans of whole configs, as `pyoci plan` prints them, held against tests/goldens/*.txt.

A plan that is meant to change: run `GOLDENS=write python3 -m pytest tests/unit/test_goldens.py`, then read every line
of `git diff tests/goldens` as if somebody else had written it. Is it English, is the order right, does it do what the
config asks, and nothing that it does not ask? Only then is the new text worth to be kept.

crun.json, runc.json, podman.json and podman-terminal.json beside them are what those programs wrote (podman's with
names and ids replaced, its long list of system calls cut, and without `tmpcopyup`, which is not supported yet); the
other configs are made here.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd.container.plan import as_json, as_text
from pyoci_systemd.plan import plan
from pyoci_systemd.plan.facts import Handover
from pyoci_systemd.plan.seccomp import flags as seccomp_flags
from pyoci_systemd.spec.defaults import default_config
from pyoci_systemd.spec.load import load
from tests.unit.good_configs import docker, seccomp, smallest
from tests.unit.plans import facts, request

GOLDENS = pathlib.Path(__file__).resolve().parents[1] / "goldens"
PROGRAM = bytes(8 * 120)  # in the place of what libseccomp makes, which is another length in each version


def captured(name: str) -> Any:
    return json.loads((GOLDENS / f"{name}.json").read_text())


def containerd() -> Any:
    """As containerd's CRI plugin writes it for Kubernetes: everything but the mounts is joined from the sandbox."""
    config: Any = default_config()
    config["annotations"] = {
        "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.27",
        "io.kubernetes.cri.sandbox-id": "5a5b",
    }
    config["process"] |= {
        "args": ["nginx", "-g", "daemon off;"],
        "user": {"uid": 101, "gid": 101, "additionalGids": [101, 2000]},
        "oomScoreAdj": 979,
        "noNewPrivileges": False,
    }
    config["mounts"] += [
        {
            "destination": "/var/run/secrets/kubernetes.io/serviceaccount", "type": "bind", "source": "/var/lib/kubelet/pods/1/token",
            "options": ["rbind", "rprivate", "ro"],
        },
        {"destination": "/etc/hosts", "type": "bind", "source": "/var/lib/kubelet/pods/1/etc-hosts", "options": ["rbind", "rprivate", "rw"]},
    ]  # fmt: skip
    config["linux"] |= {
        "cgroupsPath": "kubepods-burstable-pod4f5e_1.slice:cri-containerd:0123456789ab",
        "namespaces": [
            {"type": "pid"},
            {"type": "ipc", "path": "/proc/4711/ns/ipc"},
            {"type": "uts", "path": "/proc/4711/ns/uts"},
            {"type": "mount"},
            {"type": "network", "path": "/proc/4711/ns/net"},
            {"type": "cgroup"},
        ],
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": 128 << 20, "swap": 128 << 20},
            "cpu": {"shares": 102, "quota": 20000, "period": 100000},
        },
        "seccomp": seccomp(),
    }
    del config["hostname"]
    return config


def docker_without_hooks() -> Any:
    config: Any = docker()
    del config["hooks"]  # not supported yet
    return config


def user_namespace() -> Any:
    """A container whose root is nobody outside, with clocks of its own and a device."""
    config: Any = default_config()
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config["linux"]["namespaces"] += [{"type": "user"}, {"type": "time"}]
    config["process"] |= {"scheduler": {"policy": "SCHED_OTHER", "nice": -5}}
    config["linux"] |= {
        "uidMappings": mapping,
        "gidMappings": mapping,
        "timeOffsets": {"boottime": {"secs": 86400}, "monotonic": {"secs": -5, "nanosecs": 250000000}},
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
    }
    return config


def with_credentials() -> Any:
    """A program that is root neither inside nor outside."""
    config: Any = user_namespace()
    config["process"]["user"] = {"uid": 33, "gid": 33}
    return config


def asked_about() -> Any:
    """A filter that asks an agent, and a network device of the host's."""
    config: Any = default_config()
    section = {**seccomp(), "listenerPath": "/run/agent.sock", "listenerMetadata": "who"}
    section["syscalls"] = [*section["syscalls"], {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]
    config["linux"] |= {"seccomp": section, "netDevices": {"enp7s0": {"name": "eth%d"}}}
    config["process"]["noNewPrivileges"] = False
    return config


def host_network() -> Any:
    """What shares the machine's network, ids and names: few namespaces, hence a cgroup tree that is read-only."""
    config: Any = default_config()
    config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}]
    config["mounts"][-2] = {
        "destination": "/sys",
        "type": "bind",
        "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", "rro"],
    }
    del config["hostname"]
    return config


def devices_and_limits() -> Any:
    """Nodes of each kind, rules for them, and every limit that is kept."""
    config: Any = default_config()
    config["annotations"] = {
        "org.opencontainers.image.ref.name": "example.org/lab:2",
        "org.systemd.property.RuntimeMaxSec": "3600",
    }
    config["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600},
        {"path": "/dev/sda", "type": "b", "major": 8, "minor": 0, "uid": 0, "gid": 6, "fileMode": 0o660},
        {"path": "/dev/queue", "type": "p"},
    ]
    config["linux"]["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 8, "access": "r"},
        ],
        "memory": {"limit": 512 << 20, "reservation": 256 << 20, "swap": 1 << 30},
        "cpu": {"shares": 2048, "quota": 150000, "period": 100000, "cpus": "0-2,7", "mems": "0"},
        "pids": {"limit": 256},
    }
    config["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 524288},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
    ]
    return config


def propagation_and_options() -> Any:
    """Mount options of each sort, a root that is shared, and a process that is not root."""
    config: Any = default_config()
    config["domainname"] = "example.org"
    config["root"] = {"path": "/srv/root"}
    config["mounts"] += [
        {"destination": "/a", "type": "bind", "source": "data", "options": ["rbind", "rro", "rnosuid", "rslave", "src-nofollow"]},
        {"destination": "/b", "type": "bind", "source": "/srv/b", "options": ["bind", "rw", "suid", "exec", "dest-nofollow"]},
        {"destination": "/c", "type": "ext4", "source": "/dev/vg/c", "options": ["ro", "noatime", "nodiratime", "nosymfollow", "data=journal"]},
        {"destination": "/a", "options": ["remount", "nodev"]},
    ]  # fmt: skip
    config["linux"] |= {
        "rootfsPropagation": "rshared",
        "personality": {"domain": "LINUX32"},
        "sysctl": {"net.ipv4.ip_forward": "1"},
    }
    config["process"] |= {
        "user": {"uid": 1000, "gid": 100, "umask": 0o77, "additionalGids": [5, 20]},
        "args": ["/usr/bin/app", "--name", "two words"],
        "env": ["LANG=C.UTF-8"],
        "cwd": "/home",
        "noNewPrivileges": False,
        "capabilities": {
            name: ["CAP_NET_BIND_SERVICE"] for name in ("bounding", "permitted", "effective", "inheritable", "ambient")
        },
    }
    config["process"]["capabilities"]["bounding"] += ["CAP_CHOWN", "CAP_UNHEARD_OF"]
    return config


def confined() -> Any:
    """A program with a place of its own among the others, on a machine with SELinux and AppArmor at once."""
    config: Any = default_config()
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    config["process"] |= {
        "apparmorProfile": "containers-default",
        "selinuxLabel": "system_u:system_r:container_t:s0:c1,c2",
        "scheduler": {"policy": "SCHED_FIFO", "priority": 10, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "1"},
    }
    config["linux"] |= {
        "mountLabel": label,
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0,2-3", "flags": ["MPOL_F_STATIC_NODES"]},
    }
    return config


def terminal() -> Any:
    config: Any = default_config()
    config["process"] |= {"terminal": True, "consoleSize": {"width": 132, "height": 43}}
    return config


def least() -> Any:
    return {**smallest(), "linux": {"namespaces": [{"type": "mount"}]}}


SERVICE = Handover(
    ["LISTEN_FDS=1", "LISTEN_FDNAMES=web", "NOTIFY_SOCKET=/run/notify/notify.sock", "WATCHDOG_USEC=5000000"],
    ["LISTEN_PID", "WATCHDOG_PID"],
    [
        {
            "destination": "/run/notify", "type": "bind", "source": "/run/pyoci/c1/notify",
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
        }
    ],
)  # fmt: skip


def rootless() -> Any:
    """What `pyoci spec --rootless` writes for a user, with ids of /etc/subuid besides."""
    config: Any = default_config(rootless=True, uid=1000, gid=1000)
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] += [{"containerID": 1, "hostID": 100000, "size": 65536}]
    config["process"]["oomScoreAdj"] = 200
    config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return config


HOSTS: dict[str, dict[str, Any]] = {"rootless": {"uid": 1000, "gid": 1000, "capabilities": 0}}
CASES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "default": (default_config, {}),
    "crun": (lambda: captured("crun"), {}),
    "runc": (lambda: captured("runc"), {}),
    "podman": (lambda: captured("podman"), {}),
    "podman-terminal": (lambda: captured("podman-terminal"), {}),
    "docker": (docker_without_hooks, {"id": "3f4e5a6b7c8d"}),
    "containerd": (containerd, {"id": "0123456789ab"}),
    "user-namespace": (user_namespace, {}),
    "rootless": (rootless, {"state_dir": "/run/user/1000/pyoci/c1"}),
    "credentials": (with_credentials, {"credentials": {"tls.key": 1704, "token": 0}}),
    "asked-about": (asked_about, {}),
    "host-network": (host_network, {}),
    "devices-and-limits": (devices_and_limits, {}),
    "propagation-and-options": (propagation_and_options, {}),
    "confined": (confined, {}),
    "terminal": (terminal, {}),
    "no-pivot": (default_config, {"no_pivot": True, "new_keyring": False}),
    "run": (default_config, {"wait_for_start": False}),
    "service": (default_config, {"wait_for_start": False, "preserve_fds": 1, "handover": SERVICE}),
    "machine": (least, {"manager": "split", "machine": "web"}),
    "cgroupfs": (lambda: {**least(), "linux": {**least()["linux"], "cgroupsPath": "/plain/place"}}, {}),
    "least": (least, {"manager": "disabled"}),
}


def made(name: str) -> plan.Plan:
    make, asked = CASES[name]
    config = load(json.dumps(make()).encode())
    section = config.get("linux", {}).get("seccomp")
    program, flags = (PROGRAM, seccomp_flags(section)) if section else (b"", 0)
    host = facts(apparmor="unconfined", selinux=True, **HOSTS.get(name, {}))
    return plan.make(config, host, request(**asked), program, flags)


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    text, path = as_text(made(name)), GOLDENS / f"{name}.txt"
    if os.environ.get("GOLDENS") == "write":
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines()


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in GOLDENS.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_each_op_is_one_plain_sentence(name: str) -> None:
    for op in made(name).ops:
        sentence = op.describe()
        assert sentence.isprintable()
        assert sentence == sentence.strip()
        assert "  " not in sentence
        assert "None" not in sentence
        assert "``" not in sentence, "something has no name"
        assert "{" not in sentence


def test_no_line_ends_in_a_blank() -> None:
    for line in as_text(made("default")).splitlines():
        assert line == line.rstrip()


def test_nobody_waits_for_a_scope_that_is_not_made() -> None:
    assert "scope" not in as_text(made("cgroupfs"))
    assert "scope" not in as_text(made("least"))


@pytest.mark.parametrize("name", CASES)
def test_json_says_the_same(name: str) -> None:
    one = made(name)
    data = json.loads(json.dumps(as_json(one)))
    assert [op["does"] for op in data["ops"]] == [op.describe() for op in one.ops]
    assert [entry["name"] for entry in data["properties"]] == [name for name, _, _ in one.properties]
    assert data["unit"] == one.unit

"""The MUSTs of config-linux.md on network devices, seen with ip(8) in the container's network namespace."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container, Run
from tests.integration.must_scene import add_namespace, drop_namespace, elsewhere

pytestmark = pytest.mark.skipif(CRUN, reason="crun: has no network devices before 1.23")
HOST = 0
HARDWARE = "02:00:00:00:12:34"


def ip(*words: str, pid: int = HOST) -> Any:
    """Return what ip(8) says in the network namespace of a process, from its JSON."""
    where = ["nsenter", f"--target={pid}", "--net"] if pid else []
    said = subprocess.run(
        [*where, "ip", "-json", *words], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    return json.loads(said) if said.strip() else []


def devices(pid: int = HOST) -> dict[str, dict[str, Any]]:
    """Return the devices there by name, with their addresses."""
    return {entry["ifname"]: entry for entry in ip("address", pid=pid)}


@pytest.fixture
def device() -> Iterator[str]:
    """Return a device of the host's for a container to have; its other end stays."""
    # born with its address: udev gives one of its own to a device that has a random one, some time later
    ip("link", "add", "must0", "address", HARDWARE, "type", "veth", "peer", "name", "must1")
    yield "must0"
    for name in {"must0", "must1"} & set(devices()):
        subprocess.run(["ip", "link", "delete", name], timeout=10, capture_output=True)


def ask(container: Container, **names: str) -> None:
    """Ask for devices: the host's name, and the one in the container ("" for the same)."""
    container.config["linux"]["netDevices"] = {host: {"name": name} if name else {} for host, name in names.items()}


@pytest.mark.parametrize("name", ["", "inside0", "a-very-long-nam"])
def test_must_NET1(container: Container, device: str, name: str) -> None:
    """A device is in the container's network namespace, and no longer in the host's."""
    ask(container, must0=name)
    container.create()
    assert set(devices(container.state()["pid"])) == {"lo", name or device}
    assert device not in devices()
    container.delete()


@pytest.mark.parametrize(
    "case", ["no such device", "no network namespace", "the host's network namespace", "an invalid name"]
)
def test_must_NET1_impossible(container: Container, device: str, case: str) -> None:
    """What cannot be moved is an error, and stays where it is."""
    ask(container, must0="inside0")
    if case == "no such device":
        ask(container, must0="inside0", nosuchdevice="inside1")
    elif case == "an invalid name":
        ask(container, must0="a/b")
    elif case == "no network namespace":
        drop_namespace(container.bundle, "network")
        container.config["mounts"] = [
            mount for mount in container.config["mounts"] if not mount["destination"].startswith("/sys")
        ]
    else:
        add_namespace(container.bundle, "network", "/proc/1/ns/net")
        container.config["mounts"] = [
            mount for mount in container.config["mounts"] if not mount["destination"].startswith("/sys")
        ]
    container.refused("netDevices")
    assert device in devices()


@pytest.mark.parametrize("name", ["lo", "taken"])
def test_must_NET2(container: Container, device: str, name: str) -> None:
    """A name that the container's namespace has is an error."""
    with elsewhere("--net") as pid:
        ip("link", "add", "taken", "type", "bridge", pid=pid)
        add_namespace(container.bundle, "network", f"/proc/{pid}/ns/net")
        ask(container, must0=name)
        container.refused(name)
        assert set(devices(pid)) == {"lo", "taken"}
    assert device in devices()


def test_must_NET2_twice(container: Container, device: str) -> None:
    ask(container, must0="inside0", must1="inside0")
    container.refused("inside0")
    assert {"must0", "must1"} <= set(devices())


def test_must_NET2_pattern(container: Container, device: str) -> None:
    """A name that ends in %d is made into one that is free."""
    with elsewhere("--net") as pid:
        ip("link", "add", "eth0", "type", "bridge", pid=pid)
        add_namespace(container.bundle, "network", f"/proc/{pid}/ns/net")
        ask(container, must0="eth%d")
        container.create()
        assert set(devices(pid)) == {"lo", "eth0", "eth1"}
        container.delete()


# What is given to the device: address, further words, whether the container has it.
ADDRESSES = [
    ("192.0.2.7/24", [], True),
    ("198.51.100.9/32", ["label", "must0:x"], True),
    ("2001:db8::7/64", ["nodad"], True),
    ("2001:db8::8/128", ["nodad", "noprefixroute"], True),
    ("169.254.9.9/16", ["scope", "link"], False),
    ("203.0.113.1/24", ["valid_lft", "1000", "preferred_lft", "1000"], False),
    ("2001:db8:1::1/64", ["nodad", "valid_lft", "1000", "preferred_lft", "1000"], False),
]


@pytest.mark.parametrize("name", ["", "inside0"])
def test_must_NET3(container: Container, device: str, name: str) -> None:
    """The permanent addresses of global scope, of any family, and the attributes of the device are kept."""
    ip("link", "set", "must0", "mtu", "1321")
    for address, words, _ in ADDRESSES:
        ip("address", "add", address, *words, "dev", "must0")
    ask(container, must0=name)
    container.create()
    it = devices(container.state()["pid"])[name or device]
    kept = {f"{entry['local']}/{entry['prefixlen']}" for entry in it["addr_info"] if entry["scope"] == "global"}
    assert kept == {address for address, _, here in ADDRESSES if here}
    assert (it["mtu"], it["address"]) == (1321, HARDWARE)
    container.delete()


@pytest.mark.parametrize("before", ["up", "down"])
def test_must_NET4(container: Container, device: str, before: str) -> None:
    """The device is up after the move."""
    ip("link", "set", "must0", before)
    ask(container, must0="")
    container.create()
    assert "UP" in devices(container.state()["pid"])["must0"]["flags"]
    container.delete()


def test_must_NET5(container: Container, device: str, run: Run) -> None:
    """The runtime does nothing more with it: delete leaves it where it is, and it is not moved back."""
    with elsewhere("--net") as pid:
        add_namespace(container.bundle, "network", f"/proc/{pid}/ns/net")
        ask(container, must0="inside0")
        container.create()
        container.start()
        # someone else's business now: taken down and named anew
        ip("link", "set", "inside0", "down", pid=pid)
        ip("link", "set", "inside0", "name", "another0", pid=pid)
        container.delete()
        assert set(devices(pid)) == {"lo", "another0"}
        assert "UP" not in devices(pid)["another0"]["flags"]
        assert not {"must0", "inside0", "another0"} & set(devices())

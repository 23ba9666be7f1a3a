"""linux.netDevices: devices of the host's that the container gets, and that come back when it does not come to be.

crun 1.21 knows no network devices.

Seen red:
    a device is moved, and found    not brought up
    devices come back               not moved back
    refused                         the namespace not compared with our own
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run

HOST = "test-dev0"


def ip(*args: str, check: bool = True) -> str:
    return subprocess.run(["ip", *args], capture_output=True, text=True, check=check, timeout=10).stdout


def shown(text: str) -> Any:
    return json.loads(text or "[]")


def there(name: str) -> bool:
    return pathlib.Path(f"/sys/class/net/{name}").exists()


@pytest.fixture
def device() -> Iterator[Callable[..., None]]:
    """Return what makes a device on the host, one end of a pair; each is gone in the end."""
    made: list[str] = []

    def make(name: str = HOST, kind: str = "veth") -> None:
        made.append(name)
        ip("link", "add", name, "type", kind, *(["peer", "name", f"{name}-end"] if kind == "veth" else []))
        # udev gives a new device another hardware address (systemd.link(5), MACAddressPolicy=)
        subprocess.run(["udevadm", "settle", "--timeout=10"], check=False, timeout=20)

    yield make
    for name in made:
        ip("link", "del", name, check=False)


@pytest.fixture
def namespace() -> Iterator[str]:
    """Return the path of a network namespace that is there before the container."""
    ip("netns", "add", "test-net")
    yield "/run/netns/test-net"
    ip("netns", "del", "test-net")
    subprocess.run(["umount", "/run/netns"], check=True)
    pathlib.Path("/run/netns").rmdir()


def moving(bundle: Bundle, devices: dict[str, Any], path: str = "") -> Bundle:
    linux = bundle.config["linux"]
    linux["netDevices"] = devices
    network = {"type": "network", "path": path} if path else {"type": "network"}
    linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] != "network"] + [network]
    return bundle.args("sleep", "100")


def inside(run: Run, container_id: str, *args: str) -> Any:
    """Return what ip(8) shows in the container's network."""
    pid = json.loads(run("state", container_id, check=True).stdout)["pid"]
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-json", *args]
    return shown(subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout)


def addresses(listed: Any) -> list[tuple[str, int, str]]:
    """Return the addresses of a device but for those that the kernel makes, with their labels."""
    (link,) = listed
    return [
        (info["local"], info["prefixlen"], info.get("label", ""))
        for info in link["addr_info"]
        if info["scope"] == "global"
    ]


@pytest.mark.parametrize(("given", "name"), [({}, HOST), ({"name": "eth7"}, "eth7"), ({"name": "lan%d"}, "lan0")])
def test_device_is_moved(
    run: Run, bundle: Bundle, container_id: str, device: Any, given: dict[str, str], name: str
) -> None:
    """NET1, NET3, NET4: by its new name, with its attributes and addresses, and up."""
    device()
    ip("link", "set", HOST, "mtu", "1400", "address", "02:00:00:00:00:01", "up")
    ip("address", "add", "192.0.2.7/24", "broadcast", "192.0.2.99", "dev", HOST, "label", f"{HOST}:a", "metric", "77")
    ip("address", "add", "192.0.2.8/24", "dev", HOST)
    ip("address", "add", "198.51.100.1", "peer", "198.51.100.2/32", "dev", HOST)
    ip("address", "add", "2001:db8::1/64", "dev", HOST, "nodad", "noprefixroute", "preferred_lft", "0")
    ip("address", "add", "192.0.2.9/24", "dev", HOST, "valid_lft", "600", "preferred_lft", "600")
    ip("address", "add", "169.254.1.1/16", "scope", "link", "dev", HOST)
    moving(bundle, {HOST: given})
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    assert not there(HOST)
    listed = inside(run, container_id, "address", "show", "dev", name)
    assert addresses(listed) == [
        ("192.0.2.7", 24, f"{name}:a"),
        ("198.51.100.1", 32, name),
        ("192.0.2.8", 24, name),
        ("2001:db8::1", 64, ""),
    ]
    (link,) = listed
    assert (link["mtu"], link["address"]) == (1400, "02:00:00:00:00:01")
    assert "UP" in link["flags"]
    by_address = {info["local"]: info for info in link["addr_info"]}
    assert "169.254.1.1" not in by_address
    assert "192.0.2.9" not in by_address  # it was lent, not given
    assert (by_address["192.0.2.7"]["broadcast"], by_address["192.0.2.7"]["metric"]) == ("192.0.2.99", 77)
    assert by_address["198.51.100.1"]["address"] == "198.51.100.2"
    assert by_address["2001:db8::1"]["noprefixroute"]
    assert by_address["2001:db8::1"]["deprecated"]


def test_many_devices(run: Run, bundle: Bundle, container_id: str, device: Any) -> None:
    for name in ("test-a", "test-b", "test-c"):
        device(name)
    device("test-i", "ifb")
    ip("address", "add", "192.0.2.1/24", "dev", "test-i")
    wanted = {"test-a": {"name": "net%d"}, "test-b": {"name": "net%d"}, "test-c": {}, "test-i": {"name": "eth0"}}
    moving(bundle, wanted)
    run("create", "--bundle", bundle.path, container_id, check=True)
    names = {link["ifname"] for link in inside(run, container_id, "link")}
    assert names == {"lo", "net0", "net1", "test-c", "eth0"}
    assert addresses(inside(run, container_id, "address", "show", "dev", "eth0")) == [("192.0.2.1", 24, "eth0")]


def test_program_finds_its_devices(run: Run, bundle: Bundle, container_id: str, device: Any) -> None:
    """Kernel parameters are set for them, hooks look for them: both come later."""
    device()
    moving(bundle, {HOST: {"name": "eth0"}}).config["linux"]["sysctl"] = {"net.ipv4.conf.eth0.forwarding": "1"}
    hook = {"path": "/bin/ip", "args": ["ip", "link", "show", "eth0"]}
    bundle.config["hooks"] = {"createContainer": [hook]}
    bundle.args("cat", "/proc/sys/net/ipv4/conf/eth0/forwarding", "/sys/class/net/eth0/flags")
    done = run("run", "--bundle", bundle.path, container_id)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["1", "0x1003"], "")


def test_namespace_that_is_joined(run: Run, bundle: Bundle, container_id: str, device: Any, namespace: str) -> None:
    """NET2: a name that is taken there is an error, and `%d` finds one that is not."""
    device()
    ip("address", "add", "192.0.2.7/24", "dev", HOST)
    ip("link", "set", HOST, "up")
    index = shown(ip("-json", "link", "show", "dev", HOST))[0]["ifindex"]
    for name, number in (("eth0", "7"), (HOST, str(index))):
        ip("-n", "test-net", "link", "add", name, "index", number, "type", "ifb")
    for given in ({"name": "eth0"}, {}):
        moving(bundle, {HOST: given}, namespace)
        done = run("create", "--bundle", bundle.path, container_id)
        assert (done.returncode, done.stderr) == (
            1,
            f"pyoci: config.json: linux.netDevices: cannot move the network device `{HOST}` to the container"
            f"{' as `eth0`' if given else ''}: File exists\n",
        )
        assert_back(index)
    moving(bundle, {HOST: {"name": "eth%d"}}, namespace)
    run("create", "--bundle", bundle.path, container_id, check=True)
    assert addresses(inside(run, container_id, "address", "show", "dev", "eth1")) == [("192.0.2.7", 24, "eth1")]
    ip("-n", "test-net", "link", "del", "eth1")


def assert_back(index: int) -> None:
    """It is as it was before."""
    (link,) = shown(ip("-json", "address", "show", "dev", HOST))
    assert addresses([link]) == [("192.0.2.7", 24, HOST)]
    assert "UP" in link["flags"]
    assert link["ifindex"] == index


FAILURES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another device cannot be moved": lambda config: config["linux"]["netDevices"].update({"test-bridge": {}}),
    "no such program": lambda config: config["process"].update(args=["/nonexistent"]),
    "a hook fails": lambda config: config.update(hooks={"createContainer": [{"path": "/bin/false"}]}),
    "no such kernel parameter": lambda config: config["linux"].update(sysctl={"net.core.nonexistent": "1"}),
    "a hook of the start fails": lambda config: config.update(hooks={"startContainer": [{"path": "/bin/false"}]}),
}  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES)
def test_devices_come_back(run: Run, bundle: Bundle, container_id: str, device: Any, failure: str) -> None:
    """A device that went down with the container's network would be gone for good, were it no real one."""
    device()
    device("test-bridge", "bridge")
    ip("address", "add", "192.0.2.7/24", "dev", HOST)
    ip("link", "set", HOST, "up")
    index = shown(ip("-json", "link", "show", "dev", HOST))[0]["ifindex"]
    moving(bundle, {HOST: {"name": "eth0"}})
    FAILURES[failure](bundle.config)
    bundle.write()
    assert run("run", "--bundle", bundle.path, container_id).returncode == 1
    assert_back(index)
    assert there("test-bridge")


def test_refused(run: Run, bundle: Bundle, container_id: str, device: Any, tmp_path: pathlib.Path) -> None:
    device()
    moving(bundle, {HOST: {}, "test-none": {}})
    done = run("create", "--bundle", bundle.path, container_id)
    wanted = "pyoci: config.json: linux.netDevices: network device `test-none`: No such device\n"
    assert (done.returncode, done.stderr) == (1, wanted)
    assert there(HOST)
    moving(bundle, {HOST: {}}, "/proc/1/ns/net")
    done = run("create", "--bundle", bundle.path, container_id)
    wanted = "pyoci: config.json: linux.netDevices: the network namespace `/proc/1/ns/net` is the host's own\n"
    assert (done.returncode, done.stderr) == (1, wanted)
    assert there(HOST)


def test_user_namespace(run: Run, bundle: Bundle, container_id: str, device: Any) -> None:
    """The container's root may do with it what it likes."""
    device()
    ip("address", "add", "192.0.2.7/24", "dev", HOST)
    moving(bundle, {HOST: {"name": "eth0"}})
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    for directory in bundle.path.parents[:3]:
        directory.chmod(0o755)
    bundle.write()
    run("run", "--detach", "--bundle", bundle.path, container_id, check=True)
    assert addresses(inside(run, container_id, "address", "show", "dev", "eth0")) == [("192.0.2.7", 24, "eth0")]


def test_they_are_the_container_s_until_its_end(run: Run, bundle: Bundle, container_id: str, device: Any) -> None:
    """NET5: what becomes of them with the network namespace is the kernel's to say, and it ends with the container."""
    device()
    moving(bundle, {HOST: {}}).args("true")
    run("run", "--bundle", bundle.path, container_id, check=True)
    assert not there(HOST)

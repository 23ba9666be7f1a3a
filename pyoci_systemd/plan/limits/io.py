"""linux.resources.blockIO."""

from __future__ import annotations

from ...cgroupfile import File
from .numbers import INFINITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...spec.types import BlockIO, Resources, ThrottleDevice, WeightDevice

    Property = tuple[str, str, object]

# throttle: the property, the word in io.max
THROTTLES = {
    "throttleReadBpsDevice": ("IOReadBandwidthMax", "rbps"),
    "throttleWriteBpsDevice": ("IOWriteBandwidthMax", "wbps"),
    "throttleReadIOPSDevice": ("IOReadIOPSMax", "riops"),
    "throttleWriteIOPSDevice": ("IOWriteIOPSMax", "wiops"),
}


def properties(resources: Resources) -> list[Property]:
    """Return IOWeight, IODeviceWeight and the four bandwidths."""
    asked = resources.get("blockIO", {})
    result: list[Property] = []
    if asked.get("weight"):
        result.append(("IOWeight", "t", weight(asked["weight"])))
    weights = [(node(device["major"], device["minor"]), weight(value)) for device, value in device_weights(asked)]
    if weights:
        result.append(("IODeviceWeight", "a(st)", weights))
    for key, (name, _) in THROTTLES.items():
        # a rate of 0 lifts the limit, as it did in cgroup v1
        limits = [
            (node(device["major"], device["minor"]), device["rate"] or INFINITY) for device in throttles(asked, key)
        ]
        if limits:
            result.append((name, "a(st)", limits))
    return result


def files(resources: Resources) -> list[File]:
    """Return the weights, of BFQ where a kernel has it, and io.max."""
    asked = resources.get("blockIO", {})
    result = []
    if asked.get("weight"):
        result.append(weight_file("default", asked["weight"], "blockIO.weight"))
    for device, value in device_weights(asked):
        result.append(weight_file(f"{device['major']}:{device['minor']}", value, "blockIO.weightDevice"))
    for key, (_, word) in THROTTLES.items():
        for throttled in throttles(asked, key):
            line = f"{throttled['major']}:{throttled['minor']} {word}={throttled['rate'] or 'max'}"
            result.append(File("io.max", line, f"blockIO.{key}"))
    return result


def weight(bfq: int) -> int:
    """Return a weight of BFQ (10…1000, 100 the default) as systemd's IOWeight (1…10000), which it turns back again."""
    return bfq if bfq <= 100 else 100 + (bfq - 100) * 11


def weight_file(of: str, bfq: int, asked: str) -> File:
    """Return a weight for BFQ, and for the kernel's other scheduler where there is no BFQ."""
    return File("io.bfq.weight", f"{of} {bfq}", asked, ("io.weight", f"{of} {weight(bfq)}"))


def device_weights(asked: BlockIO) -> list[tuple[WeightDevice, int]]:
    """Return each device that has a weight of its own, with it."""
    return [(device, device["weight"]) for device in asked.get("weightDevice") or () if device.get("weight")]


def throttles(asked: BlockIO, key: str) -> list[ThrottleDevice]:
    """Return the devices of one kind of throttle."""
    found: list[ThrottleDevice] = asked.get(key) or []  # type: ignore[assignment]
    return found


def node(major: int, minor: int) -> str:
    """Return a block device as systemd understands it without looking: a container may ask for one to come."""
    return f"/dev/block/{major}:{minor}"

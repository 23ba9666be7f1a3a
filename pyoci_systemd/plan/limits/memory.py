"""linux.resources.memory. swap there is the sum of memory and swap; the kernel and systemd count swap alone."""

from __future__ import annotations

from ...cgroupfile import File
from ...errors import SpecError
from .numbers import limit, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...spec.types import Memory, Resources

    Property = tuple[str, str, object]

WHERE = "config.json: linux.resources.memory"


def properties(resources: Resources) -> list[Property]:
    """Return MemoryMax, MemoryLow and MemorySwapMax. Raises SpecError."""
    asked = resources.get("memory", {})
    result: list[Property] = []
    if asked.get("limit"):
        result.append(("MemoryMax", "t", limit(asked["limit"])))
    if asked.get("reservation"):
        result.append(("MemoryLow", "t", limit(asked["reservation"])))
    if asked.get("swap"):
        result.append(("MemorySwapMax", "t", limit(swap(asked))))
    return result


def files(resources: Resources) -> list[File]:
    """Return memory.max before memory.swap.max, as they must be written. Raises SpecError."""
    asked = resources.get("memory", {})
    result = []
    if asked.get("limit"):
        result.append(File("memory.max", number(asked["limit"]), "memory.limit"))
    if asked.get("reservation"):
        result.append(File("memory.low", number(asked["reservation"]), "memory.reservation"))
    if asked.get("swap"):
        result.append(File("memory.swap.max", number(swap(asked)), "memory.swap"))
    return result


def swap(asked: Memory) -> int:
    """Return the limit on swap alone, -1 for none; 0 is a limit as well. Raises SpecError."""
    total, maximum = asked["swap"], asked.get("limit", 0)
    if total < 0:
        return -1
    if maximum <= 0:
        raise SpecError(f"{WHERE}.swap needs memory.limit: it counts both together")
    if total < maximum:
        raise SpecError(f"{WHERE}.swap counts memory too: it is less than memory.limit")
    return total - maximum

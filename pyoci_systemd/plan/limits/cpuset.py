"""linux.resources.cpu.cpus and .mems: the processors and memory nodes that may be used."""

from __future__ import annotations

from ...cgroupfile import File
from ...errors import SpecError
from ...spec.numbers import MOST_CPUS, bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...spec.types import Resources

    Property = tuple[str, str, object]


def properties(resources: Resources) -> list[Property]:
    """Return AllowedCPUs and AllowedMemoryNodes. Raises SpecError."""
    asked = resources.get("cpu", {})
    result: list[Property] = []
    if asked.get("cpus"):
        result.append(("AllowedCPUs", "ay", mask(asked["cpus"], "linux.resources.cpu.cpus")))
    if asked.get("mems"):
        result.append(("AllowedMemoryNodes", "ay", mask(asked["mems"], "linux.resources.cpu.mems")))
    return result


def files(resources: Resources) -> list[File]:
    """Return cpuset.cpus and cpuset.mems."""
    asked = resources.get("cpu", {})
    result = []
    if asked.get("cpus"):
        result.append(File("cpuset.cpus", asked["cpus"], "cpu.cpus"))
    if asked.get("mems"):
        result.append(File("cpuset.mems", asked["mems"], "cpu.mems"))
    return result


def mask(text: str, where: str) -> bytes:
    """Return a list such as `0-2,7` as a bit mask of bytes, lowest first.

    Raises SpecError when it is no such list; `where` is the JSON path to it.
    """
    numbers = bits(text, MOST_CPUS)
    if numbers < 0:
        raise SpecError(f"config.json: {where}: `{text}` is not a list of numbers and ranges")
    return numbers.to_bytes((numbers.bit_length() + 7) // 8, "little")

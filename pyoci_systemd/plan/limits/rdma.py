"""linux.resources.rdma: systemd knows nothing of RDMA."""

from __future__ import annotations

from ...cgroupfile import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...spec.types import Resources

    Property = tuple[str, str, object]


def properties(resources: Resources) -> list[Property]:
    """Return none."""
    return []


def files(resources: Resources) -> list[File]:
    """Return rdma.max, a line for each device."""
    result = []
    for device, asked in (resources.get("rdma") or {}).items():
        words = [device]
        if "hcaHandles" in asked:
            words.append(f"hca_handle={asked['hcaHandles']}")
        if "hcaObjects" in asked:
            words.append(f"hca_object={asked['hcaObjects']}")
        result.append(File("rdma.max", " ".join(words), f"rdma.{device}"))
    return result

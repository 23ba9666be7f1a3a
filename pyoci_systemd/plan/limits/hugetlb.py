"""linux.resources.hugepageLimits: systemd knows nothing of huge pages."""

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
    """Return hugetlb.SIZE.max."""
    asked = resources.get("hugepageLimits") or ()
    return [
        File(f"hugetlb.{limit['pageSize']}.max", str(limit["limit"]), f"hugepageLimits[{index}]")
        for index, limit in enumerate(asked)
    ]

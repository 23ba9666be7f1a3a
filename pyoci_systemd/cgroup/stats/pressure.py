"""How long tasks waited for a resource: PSI (Documentation/accounting/psi.rst). Pure."""

from __future__ import annotations

from ..keyed import nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..keyed import Data


def pressure(text: str) -> Data:
    """Return what a `*.pressure` file says: averages in percent of the time, the total in microseconds."""
    return {
        share: {key: int(value) if key == "total" else float(value) for key, value in row.items()}
        for share, row in nested(text).items()
    }

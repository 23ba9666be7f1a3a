"""`pyoci doctor`: what of this machine stands in the way of containers, and the command that mends it."""

from __future__ import annotations

import sys

from ..jsonio import dumps
from .finding import BAD
from .hostchecks import findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..settings import Options, Settings
    from .finding import Finding


def main(settings: Settings, options: Options) -> int:
    """Print what is found. Returns 1 when something is bad, 0 otherwise."""
    found = list(findings())
    sys.stdout.write(as_json(found) if options.json else as_text(found))
    return int(any(finding.verdict == BAD for finding in found))


def as_text(found: Sequence[Finding]) -> str:
    """Return a line for each finding, and below it what mends it."""
    width = max(len(finding.subject) for finding in found)
    lines = []
    for finding in found:
        lines.append(f"{finding.verdict:4}  {finding.subject:{width}}  {finding.found}")
        if finding.mend:
            lines.append(f"      {'':{width}}  → {finding.mend}")
    return "".join(f"{line}\n" for line in lines)


def as_json(found: Sequence[Finding]) -> str:
    """Return the findings as a list of objects."""
    return dumps([{field: getattr(finding, field) for field in finding.fields} for finding in found], 2) + "\n"

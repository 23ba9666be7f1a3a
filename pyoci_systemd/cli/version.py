"""`pyoci --version`: podman shows it, go-runc parses its first line and the line `spec:`."""

from __future__ import annotations

import sys

from .. import __version__
from ..container.features import BUILT_WITH, SPEC_VERSION, commit
from ..errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings


def main(settings: Settings, options: Options) -> int:
    """Print the version."""
    sys.stdout.write(text(settings))
    return 0


def text(settings: Settings) -> str:
    """Return what is shown, in the form of the other runtimes. What is not known has no line."""
    known = (("commit", commit()), ("rundir", rundir(settings)), ("spec", SPEC_VERSION))
    lines = [f"pyoci version {__version__}"]
    lines += [f"{name}: {value}" for name, value in known if value]
    lines.append(" ".join(f"+{part}" for part in BUILT_WITH))
    return "\n".join(lines) + "\n"


def rundir(settings: Settings) -> str:
    """Return the state directory; "" when there is none, which is a mistake for a verb only."""
    try:
        return settings.root
    except Error:
        return ""

"""How many examples a test of chance takes: all of them when THOROUGH is set, a tenth when a person waits."""

from __future__ import annotations

import os

from hypothesis import settings

THOROUGH = os.environ.get("THOROUGH") == "1"


def examples(number: int) -> settings:
    """Return the settings of a test by chance that takes this many examples in the thorough run."""
    return settings(max_examples=number if THOROUGH else max(5, number // 10))

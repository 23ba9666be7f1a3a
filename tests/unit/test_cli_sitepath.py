"""On the cold path the installed packages are found where a plain interpreter finds them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
SHOW = "import json, sys; print(json.dumps(sys.path))"
ENABLE = f"import sys; sys.path.insert(0, {ROOT!r}); from pyoci_systemd.sitepath import enable; enable(); "


@pytest.mark.parametrize("python", sorted({sys.executable, sys._base_executable}))  # type: ignore[attr-defined]
def test_path(python: str) -> None:
    def path(*words: str) -> list[str]:
        return list(json.loads(subprocess.run([python, *words], capture_output=True, check=True, timeout=20).stdout))

    assert path("-ISB", "-c", ENABLE + SHOW) == [ROOT, *path("-I", "-c", SHOW)]

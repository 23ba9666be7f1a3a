"""`pyoci logs`: what journalctl is asked."""

from __future__ import annotations

import pytest

from pyoci_systemd.cli.options import defaults
from pyoci_systemd.cli.verbs import VERBS
from pyoci_systemd.container.logs import command
from pyoci_systemd.errors import Error
from pyoci_systemd.settings import Options

ROOTS = "CONTAINER_ID=web _UID={uid} + _SYSTEMD_UNIT=pyoci-web.scope + _SYSTEMD_UNIT=pyoci@web.service"


@pytest.mark.parametrize(("unit", "uid", "given", "said"), [
    ("pyoci-web.scope", 0, {}, ROOTS),
    ("pyoci-web.scope", 0, {"follow": True, "lines": "5"}, f"--follow --lines=5 {ROOTS}"),
    ("pyoci-web.scope", 0, {"lines": "all", "since": "-1h", "output": "cat"},
     f"--lines=all --since=-1h --output=cat {ROOTS}"),
    ("", 0, {}, "CONTAINER_ID=web _UID={uid} + _SYSTEMD_UNIT=pyoci@web.service"),
    ("pyoci-web.scope", 1000, {},
     "--user CONTAINER_ID=web _UID={uid} + _SYSTEMD_USER_UNIT=pyoci-web.scope + _SYSTEMD_USER_UNIT=pyoci@web.service"),
])  # fmt: skip
def test_command(unit: str, uid: int, given: dict[str, object], said: str) -> None:
    options = Options(**{**defaults(VERBS["logs"].options), **given})
    assert command("web", unit, options, uid) == ["journalctl", *said.format(uid=uid).split()]


@pytest.mark.parametrize("lines", ["-1", "x", "１", "+1"])
def test_lines(lines: str) -> None:
    with pytest.raises(Error, match="--lines"):
        command("web", "", Options(**{**defaults(VERBS["logs"].options), "lines": lines}), 0)

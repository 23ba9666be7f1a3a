"""The shipped units: that those of the two managers differ in nothing but where they must."""

from __future__ import annotations

import pathlib
import re

from pyoci_systemd.cli.options import GLOBALS, split
from pyoci_systemd.cli.verbs import VERBS
from pyoci_systemd.plan import dropins

UNITS = pathlib.Path(__file__).parents[2] / "units"
SYSTEM = (UNITS / "system/pyoci@.service").read_text()
USER = (UNITS / "user/pyoci@.service").read_text()
# what PID 1 alone does, or has
SYSTEM_ALONE = ("Wants=network-online.target", "After=network-online.target", "LogExtraFields=CONTAINER_ID=%i")


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and line[0] != "#"]


def test_the_managers_differ_in_the_place_of_the_bundle() -> None:
    system = [line for line in settings(SYSTEM) if line not in SYSTEM_ALONE]
    system = [line.replace("/var/lib/pyoci", "%h/.local/share/pyoci") for line in system]
    assert [line.replace("multi-user.target", "default.target") for line in system] == settings(USER)


def test_the_command_lines_are_right() -> None:
    commands = re.findall(r"^Exec\w+=pyoci (.*)$", SYSTEM, re.M)
    assert len(commands) == 2
    for command in commands:
        words = command.replace("${PYOCI_NOTIFY}", dropins.NOTIFY).replace("$PYOCI_CREDENTIALS $PYOCI_OPTIONS ", "")
        parted = split(words.split(), GLOBALS, permute=False)
        assert parted
        verb = VERBS[parted[1][0]]
        assert split(parted[1][1:], verb.options, permute=True)


def test_drop_ins_build_on_what_is_shipped() -> None:
    assert f"Restart={dropins.RESTART}" in settings(SYSTEM)
    assert f"PYOCI_NOTIFY={dropins.NOTIFY} " in SYSTEM
    (given,) = (line for line in settings(SYSTEM) if line.startswith("Environment="))
    assert set(re.findall(r"\$\{?(PYOCI_\w+)", SYSTEM)) == set(re.findall(r"(PYOCI_\w+)=", given))

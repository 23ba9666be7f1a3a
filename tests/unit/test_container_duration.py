"""Lengths of time as Go writes them."""

from __future__ import annotations

import pytest

from pyoci_systemd.container.duration import seconds
from pyoci_systemd.errors import Error

GOOD = {
    "5s": 5, "100ms": 0.1, "1m30s": 90, "1.5h": 5400, ".5s": 0.5, "1.s": 1, "250us": 0.00025, "1µs": 1e-6, "1μs": 1e-6,
    "1h0m0s": 3600, "2ms3us4ns": 0.002003004,
}  # fmt: skip
BAD = ["", "5", "s", "5 s", " 5s", "5s ", "-5s", "+5s", "0s", "0", "1.2.3s", "5S", "5d", "1_0s", "５s", ".s", "5s5", "1e3s",
       "999999h", "ms5", "nan", "5s\n"]  # fmt: skip


def test_good() -> None:
    assert {text: seconds(text, "--interval") for text in GOOD} == pytest.approx(GOOD)


@pytest.mark.parametrize("text", BAD)
def test_bad(text: str) -> None:
    with pytest.raises(Error) as caught:
        seconds(text, "--interval")
    assert caught.value.message == f"--interval: `{text}` is not a length of time such as 5s, 100ms or 1m30s"

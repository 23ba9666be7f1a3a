"""What the unit tests share."""

from __future__ import annotations

import functools

import pytest

from pyoci_systemd.spec import judge

once = functools.cache(judge.judge)


@pytest.fixture
def one_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the judge once: it serves thousands of cases."""
    monkeypatch.setattr(judge, "judge", once)

"""What all tests share: how hypothesis behaves, and reports that can be told to whoever runs the tests in parallel."""

from __future__ import annotations

import gc
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.chance import examples

# how fast an example runs says something of the machine, not of the code
settings.register_profile(
    "house", parent=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from what lives to the end anyhow: a tenth of the time of the unit tests."""
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """Make the words of a failure printable: tests of ours are about bytes that are no UTF-8, and a report of them
    ends the process that runs them for another (execnet: `strings must be utf-8 encodable`)."""
    outcome = yield
    report = outcome.get_result()
    report.sections = [(printable(title), printable(text)) for title, text in report.sections]
    if report.longrepr is not None and not isinstance(report.longrepr, tuple):
        words = str(report.longrepr)
        if words != printable(words):
            report.longrepr = printable(words)


def printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()

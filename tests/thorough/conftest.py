"""What a person does not wait for: programs of ours that run, and second opinions on thousands of cases."""

from __future__ import annotations

import pathlib

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here: the stage runs it together with the tests of chance (`hypothesis`) that lie elsewhere."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("thorough")

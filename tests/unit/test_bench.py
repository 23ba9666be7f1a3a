"""The table of the benchmark: measured in random order, shown in one that stays."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench import bench, report


class Fake:
    def __init__(self, name: str) -> None:
        self.name = name


def test_rows_are_in_the_order_of_the_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "GAP", 0)
    names = [work.name for work in (*bench.SINGLE, *bench.LISTING, *bench.BATCHES)]
    works = [bench.Work(name, lambda _: bench.Cost(1.0, 1.0)) for name in names]
    runtimes: Any = [Fake("pyoci"), Fake("crun")]
    samples: bench.Samples = {}
    bench.measure(works, runtimes, 2, samples)
    rows = report.table(samples, ["pyoci", "crun"])[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == names
    assert all("**1.00**" in row for row in rows)

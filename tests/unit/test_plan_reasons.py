"""What is said of an errno that could mean much."""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOENT, ENOMEM, EPERM
from typing import Any

import pytest

from pyoci_systemd.plan import ops, reasons, scheduling
from pyoci_systemd.plan.ops import Op


def scheduler(**asked: Any) -> Op:
    return ops.Scheduler(0, scheduling.attributes(asked))  # type: ignore[arg-type]


@pytest.mark.parametrize(("op", "error", "word"), [
    (scheduler(policy="SCHED_DEADLINE"), EPERM, "cpuset"),
    (scheduler(policy="SCHED_DEADLINE"), EBUSY, "runtime / period"),
    (scheduler(policy="SCHED_DEADLINE"), EINVAL, "sched_deadline_period_min_us"),
    (scheduler(policy="SCHED_FIFO", priority=1), EPERM, "CONFIG_RT_GROUP_SCHED"),
    (ops.AppArmor("exec x"), ENOENT, "not loaded"),
    (ops.MemoryPolicy(2, b"\1" + bytes(7)), EINVAL, "its cgroup may use"),
])  # fmt: skip
def test_likely_reason(op: Op, error: int, word: str) -> None:
    assert word in reasons.hint(op, error)


@pytest.mark.parametrize(("op", "error"), [
    (scheduler(policy="SCHED_FIFO", priority=1), EINVAL), (ops.Umask(0), EPERM), (ops.AppArmor("exec x"), ENOMEM),
])  # fmt: skip
def test_nothing_to_add(op: Op, error: int) -> None:
    assert reasons.hint(op, error) == ""


def test_each_reason_is_a_line() -> None:
    for text in reasons.REASONS.values():
        assert text.isprintable()
        assert not text.endswith(".")

"""Limits are changed all or none: what a cgroup's files said is written back, line by line as the kernel takes it."""

from __future__ import annotations

import pathlib

import pytest

from pyoci_systemd import log
from pyoci_systemd.cgroup import saved
from pyoci_systemd.cgroup.saved import Saved, back
from pyoci_systemd.cgroupfile import File


@pytest.mark.parametrize(("name", "before", "now", "written"), [
    ("memory.max", "max\n", "4096\n", ["max"]),
    ("cpu.max", "max 100000\n", "1000 100000\n", ["max 100000"]),
    ("cpuset.cpus", "\n", "0\n", ["\n"]),
    ("io.max", "", "8:0 rbps=1 wbps=max\n", ["8:0 rbps=max wbps=max riops=max wiops=max"]),
    ("io.max", "8:0 rbps=1 wbps=2\n", "8:0 rbps=9 wbps=9\n8:1 rbps=1\n",
     ["8:1 rbps=max wbps=max riops=max wiops=max", "8:0 rbps=1 wbps=2"]),
    ("io.weight", "default 100\n", "default 10\n8:0 50\n", ["8:0 default", "default 100"]),
    ("io.latency", "", "8:0 target=5\n", ["8:0 target=0"]),
    ("rdma.max", "", "mlx4_0 hca_handle=1 hca_object=1\n", ["mlx4_0 hca_handle=max hca_object=max"]),
])  # fmt: skip
def test_back(name: str, before: str, now: str, written: list[str]) -> None:
    assert back(name, before, now) == written


def test_restore(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file, also when one of them is refused; that is logged."""
    said: list[str] = []
    written: list[tuple[str, str]] = []
    for name, text in {"memory.max": "1\n", "pids.max": "2\n", "cpu.max": "max 100000\n"}.items():
        (tmp_path / name).write_text(text)

    def write(path: str, text: str) -> None:
        if path.endswith("pids.max"):
            raise OSError(22, "")
        written.append((path.rpartition("/")[2], text))

    limits = [
        File("memory.max", "9", "memory.limit"),
        File("pids.max", "9", "pids.limit"),
        File("cpu.max", "9", "cpu.quota"),
    ]
    before = Saved(str(tmp_path), limits)
    monkeypatch.setattr(saved, "write", write)
    monkeypatch.setattr(log, "warning", said.append)
    before.restore()
    assert written == [("memory.max", "1"), ("cpu.max", "max 100000")]
    assert said == [f"cannot restore `{tmp_path}/pids.max`: Invalid argument"]

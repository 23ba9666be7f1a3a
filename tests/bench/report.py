"""The table of the benchmark, as Markdown."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

BARE = "without the launcher's helper"
FLOOR = "python3 -ISB -c pass"


class Cost(Protocol):
    """What one command took, in milliseconds."""

    @property
    def wall(self) -> float: ...
    @property
    def cpu(self) -> float: ...


Samples = Mapping[tuple[str, str], Sequence[Cost]]


def machine(commands: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what is compared on what."""
    lines = [f"Linux {os.uname().release}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the beginning"]
    for command in (["systemctl"], *commands.values()):
        done = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True)
        lines.append(done.stdout.partition("\n")[0])
    return lines


def middle(costs: Sequence[Cost]) -> float:
    """Return the median of the times."""
    return statistics.median(cost.wall for cost in costs)


def spread(costs: Sequence[Cost]) -> str:
    """Return the median and the quartiles of the times, in milliseconds."""
    low, median, high = statistics.quantiles([cost.wall for cost in costs], n=4)
    digits = 0 if median > 200 else 1
    return f"{median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def table(samples: Samples, runtimes: Sequence[str]) -> list[str]:
    """Return the rows of all work: medians, quartiles, and how ours compares."""
    ours, *others = runtimes
    lines = [
        f"| milliseconds | {' | '.join(runtimes)} | {' | '.join(f'{ours} / {other}' for other in others)} |",
        "|---|" + "--:|" * (len(runtimes) + len(others)),
    ]
    for work in dict.fromkeys(name for name, runtime in samples if runtime == ours):
        cells = [spread(samples[work, runtime]) for runtime in runtimes]
        ratios = [f"**{middle(samples[work, ours]) / middle(samples[work, other]):.2f}**" for other in others]
        lines.append(f"| {work} | {' | '.join([*cells, *ratios])} |")
    return lines


def helper_lines(samples: Samples, single: Samples) -> list[str]:
    """Return what the launcher's helper brings and costs."""
    lines = ["| milliseconds (processor time) | with the helper | without | ratio |", "|---|--:|--:|--:|"]
    for source in (single, samples):
        for work, runtime in source:
            if runtime != BARE:
                continue
            with_it, without = source[work, "pyoci"], source[work, BARE]
            cells = [f"{middle(c):.1f} ({statistics.median(x.cpu for x in c):.1f})" for c in (with_it, without)]
            lines.append(f"| {work} | {cells[0]} | {cells[1]} | {middle(with_it) / middle(without):.2f} |")
    return lines


def memory_lines(memory: Mapping[str, Mapping[str, int]], runtimes: Sequence[str]) -> list[str]:
    """Return the peaks."""
    lines = [f"| kB resident at the most | {' | '.join(runtimes)} |", "|---|" + "--:|" * len(runtimes)]
    for what in memory[runtimes[0]]:
        lines.append(f"| {what} | {' | '.join(f'{memory[runtime][what]:,}' for runtime in runtimes)} |")
    return lines


def text(
    begun: Sequence[str],
    samples: Samples,
    single: Samples,
    memory: Mapping[str, Mapping[str, int]],
    runtimes: Sequence[str],
) -> str:
    """Return the whole page."""
    compared = {key: value for key, value in samples.items() if key[0] != FLOOR}
    parts = [
        ["# Results", "", "Made by `make bench` (tests/bench/bench.py says how it is measured and why so)."],
        ["All under systemd (`--systemd-cgroup`), medians with their quartiles, one shuffled run."],
        [f"- {line}" for line in begun],
        table(compared, runtimes),
        [f"The bare interpreter (`{FLOOR}`) takes {spread(samples[FLOOR, ''])} ms: the floor of every verb of ours."],
        memory_lines(memory, runtimes),
        ["## The launcher's helper", "", "It begins the kernel's grace period while Python starts (init/launcher.c)."],
        helper_lines(samples, single),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"

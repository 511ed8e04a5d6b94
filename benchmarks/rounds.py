"""Side-by-side measurement on a noisy machine: interleaved rounds, medians, paired ratios.

Absolute rates here move by a factor of two with the neighbours' load; the ratio of two programs run
one after the other within the same round does not. So every table carries its floor, the first
label, runs it once more at the end of each round as a control, and says when that control strayed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Burst = Callable[[], int | None]

CONTROL_BAND = (0.9, 1.1)
"""The floor against itself must stay in here, or the run says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One program: operations a second in every round, and the same divided by the floor's.

    `cpus` is what an operation costs this process's threads, in CPU seconds: it hardly moves with
    the neighbours' load, but counts no other process (a database server's, a disk's).
    """

    label: str
    rates: tuple[float, ...]
    ratios: tuple[float, ...]
    cpus: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Return the median rate, operations a second."""
        return median(self.rates)

    @property
    def cpu(self) -> float:
        """Return the median CPU seconds of one operation, 0 when they were not measured."""
        return median(self.cpus) if self.cpus else 0.0

    @property
    def ratio(self) -> float:
        """Return the median of the ratios to the floor, paired round by round."""
        return median(self.ratios)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The result of one comparison; the first line is the floor."""

    name: str
    lines: tuple[Line, ...]
    control: float
    """The floor against itself: median of its second burst in a round to its first."""

    @property
    def valid(self) -> bool:
        """Return whether the machine held still enough for the ratios to mean something."""
        low, high = CONTROL_BAND
        return low <= self.control <= high

    def line(self, label: str) -> Line:
        """Return the line with this label; KeyError when there is none."""
        return {line.label: line for line in self.lines}[label]

    def markdown(self) -> str:
        """Return the table as Markdown, with the control under it."""
        return "\n".join(self._markdown())

    def _markdown(self) -> Iterator[str]:
        yield f"| {self.name} | per second | each | CPU each | ratio to the floor [range] |"
        yield "|---|---|---|---|---|"
        for line in self.lines:
            low, high = min(line.ratios), max(line.ratios)
            yield (
                f"| {line.label} | {line.rate:,.0f} | {duration(1 / line.rate)} "
                f"| {duration(line.cpu)} "
                f"| {line.ratio:.2f} [{low:.2f} to {high:.2f}] |"
            )
        verdict = "" if self.valid else ": **void, the machine was too restless**"
        yield ""
        yield (
            f"{len(self.lines[0].rates)} interleaved rounds, medians; "
            f"the floor against itself: {self.control:.2f}{verdict}."
        )


def compare(name: str, bursts: Mapping[str, Burst], rounds: int = 5) -> Table:
    """Run all bursts in turn, `rounds` times after one warm-up, and relate each to the first."""
    floor = next(iter(bursts))
    rates: dict[str, list[float]] = {label: [] for label in bursts}
    cpus: dict[str, list[float]] = {label: [] for label in bursts}
    controls: list[float] = []
    for burst in bursts.values():
        burst()
    for _ in range(rounds):
        for label, burst in bursts.items():
            rate, cpu = _measured(burst)
            rates[label].append(rate)
            cpus[label].append(cpu)
        controls.append(_measured(bursts[floor])[0] / rates[floor][-1])
    lines = tuple(
        Line(
            label=label,
            rates=tuple(own),
            ratios=_paired(own, rates[floor]),
            cpus=tuple(cpus[label]),
        )
        for label, own in rates.items()
    )
    return Table(name=name, lines=lines, control=median(controls))


def met_or_missed(met: bool) -> str:
    """Return what is said of a goal."""
    return "met" if met else "MISSED"


def duration(seconds: float) -> str:
    """Return a duration in the unit that reads best."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{seconds * factor:,.3g} {unit}"
    return f"{seconds * 1e9:,.3g} ns"


def _measured(burst: Burst) -> tuple[float, float]:
    """Return a burst's operations a second, and its CPU seconds an operation."""
    gc.collect()
    cpu, begun = time.process_time(), time.perf_counter()
    count = burst()
    took, burnt = time.perf_counter() - begun, time.process_time() - cpu
    operations = 1 if count is None else count
    return operations / took, burnt / operations


def _paired(own: Sequence[float], floor: Sequence[float]) -> tuple[float, ...]:
    return tuple(mine / base for mine, base in zip(own, floor, strict=True))

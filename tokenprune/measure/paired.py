"""Comparing durations on a machine that is doing other things as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """A median of paired ratios with its 95 % bootstrap interval over ``count`` pairs."""

    median: float
    low: float
    high: float
    count: int

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out 1, so that one of the two is faster."""
        return self.low > 1 or self.high < 1

    def to_dict(self) -> dict[str, float | int]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f}, n = {self.count})"


def interleave(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each run in each round; a round does all of them, and each round begins with another one.

    Run everything once beforehand to warm up. On an accelerator a run has to wait for the device before it returns.
    """
    names = list(runs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = clock()
            runs[name]()
            seconds[name].append(clock() - start)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float], resamples: int = 10_000, seed: int = 0) -> Ratio:
    """The median of ``above[i] / below[i]`` over rounds, and how far it may be trusted.

    Raises:
        ValueError: there are no pairs, or the two are not equally many.
    """
    if len(above) != len(below) or not above:
        raise ValueError(
            f"paired ratios need as many values above as below, and at least one; got {len(above)}, {len(below)}"
        )
    pairs = np.asarray(above) / np.asarray(below)
    drawn = np.random.default_rng(seed).choice(pairs, (resamples, len(pairs)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return Ratio(float(np.median(pairs)), float(low), float(high), len(pairs))

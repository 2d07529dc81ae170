"""How far a comparison on the same questions can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """A figure beside the same figure of the unpruned model, over the same draws of images.

    Args:
        value: the figure.
        difference: minus the unpruned model's.
        relative: of the unpruned model's, in percent; None where that is 0.
    """

    value: Interval
    difference: Interval
    relative: Interval | None


def compared(
    sums: Floats, full: Floats, value: Callable[[Floats], Floats], resamples: int = 2000, seed: int = 0
) -> Compared:
    """Draw images with replacement, the same ones for both, and look at the figures.

    Questions about one image stay together, because they are right or wrong together.

    Args:
        sums: [I, K] or [S, I, K], what each image adds; with several seeds the figure is their mean.
        full: [I, K], the same of the unpruned model.
        value: [..., K] sums to [...] figures.
        resamples: how often images are drawn.
        seed: which draws.
    """
    sums = sums if sums.ndim == 3 else sums[None]
    count = len(full)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples).astype(float)
    drawn = np.stack([value(weights @ one) for one in sums]).mean(0)  # [R]
    base = value(weights @ full)  # [R]
    here, there = float(np.mean([value(one.sum(0)) for one in sums])), float(value(full.sum(0)))
    relative = None
    if there and base.all():
        relative = _interval(100 * here / there, 100 * drawn / base)
    return Compared(_interval(here, drawn), _interval(here - there, drawn - base), relative)


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class McNemar:
    """McNemar's test on questions that one got right and the other wrong.

    Args:
        lost: the unpruned model was right and the pruned one is wrong.
        gained: the other way round.
        p: exact, two-sided: how likely a split at least as uneven is, were both equally good.
    """

    lost: int
    gained: int
    p: float


def mcnemar(scores: Sequence[float], full: Sequence[float]) -> McNemar | None:
    """Compare right and wrong answers, question by question; None where an answer may be half right.

    McNemar, Psychometrika 12, 1947, with the binomial distribution in place of its limit. It takes questions as
    independent, which several about one image are not: where the two disagree, trust the interval.
    """
    if not {*scores, *full} <= {0.0, 1.0}:
        return None
    lost = sum(b > a for a, b in zip(scores, full, strict=True))
    gained = sum(a > b for a, b in zip(scores, full, strict=True))
    return McNemar(lost, gained, _two_sided(min(lost, gained), lost + gained))


def _two_sided(fewer: int, count: int) -> float:
    """Twice the probability of at most ``fewer`` heads among ``count``."""
    tail = sum(math.comb(count, k) for k in range(fewer + 1))
    return min(1.0, math.exp(math.log(2) + math.log(tail) - count * math.log(2)))

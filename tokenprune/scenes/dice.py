"""Seeded chance, made of one primitive.

Every draw is computed from ``Generator.random``, the most direct reading of PCG64's bits, so that a scene does not
change when numpy improves how it draws integers, permutations or normal deviates.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Dice:
    """A stream of draws that depends on the given non-negative integers alone."""

    def __init__(self, *seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(list(seed)))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return float(self._generator.random()) < probability

    def between(self, low: float, high: float) -> float:
        """A real number of ``[low, high)``."""
        return low + (high - low) * float(self._generator.random())

    def whole(self, low: int, high: int) -> int:
        """An integer of ``[low, high]``: both ends are drawn."""
        return low + int(float(self._generator.random()) * (high - low + 1))

    def one_of(self, items: Sequence[T]) -> T:
        """One of the items, each as likely as the next."""
        return items[self.whole(0, len(items) - 1)]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """One of the items, with a probability in proportion to its weight."""
        edges = np.cumsum(weights)
        return items[int(np.searchsorted(edges, self.between(0, float(edges[-1])), side="right"))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in any order."""
        order = np.argsort(self._generator.random(len(items)), kind="stable")
        return [items[i] for i in order]

    def grid(self, height: int, width: int) -> NDArray[np.float64]:
        """``[height, width]`` independent numbers of ``[0, 1)``."""
        return self._generator.random((height, width))

"""What splitters share: a row's count divided into its parts, and a unit's total over its rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tokenprune.budget import Budget, apportion
from tokenprune.selection import Split
from tokenprune.tokens import VisualTokens


def parted(counts: Sequence[int], important: float, merged: float) -> Split:
    """Counts of rows as shares that are important, rounded down, and merged, to the nearest; the rest is diverse."""
    last = [int(count * merged + 0.5) for count in counts]
    first = [min(int(count * important), count - own) for count, own in zip(counts, last, strict=True)]
    rest = [count - one - own for count, one, own in zip(counts, first, last, strict=True)]
    return Split(*torch.tensor([first, rest, last], dtype=torch.int64).unbind())


def divided(tokens: VisualTokens, budget: Budget, weights: Sequence[float]) -> list[int]:
    """Counts of all rows: the total of each unit in proportion to the weights of its rows."""
    caps = tokens.counts.tolist()
    counts = [0] * len(caps)
    for rows, total in budget.units(tokens):
        shares = apportion(total, [weights[row] for row in rows], [caps[row] for row in rows])
        for row, share in zip(rows, shares, strict=True):
            counts[row] = share
    return counts


def evenly_divided(tokens: VisualTokens, budget: Budget) -> list[int]:
    """Counts of all rows: the total of each unit, alike as far as rows go; those with one more are evenly spread."""
    caps = tokens.counts.tolist()
    counts = [0] * len(caps)
    for rows, total in budget.units(tokens):
        if len(rows) == 1:  # as all units are of a budget per row
            counts[rows[0]] = total
            continue
        sizes = [caps[row] for row in rows]
        most = max(sizes)
        if most * len(rows) == sum(sizes):  # rows of one size, as they mostly are
            least = total // len(rows)
        else:
            shares = apportion(total, [1] * len(rows), sizes)
            least = min([share for share, size in zip(shares, sizes, strict=True) if share < size], default=most)
        for row, size in zip(rows, sizes, strict=True):
            counts[row] = min(least, size)
        able = [row for row in rows if caps[row] > least]  # which get that many, or one more
        more = total - sum([counts[row] for row in rows])
        for nth in range(more):  # in the middles of as many equal stretches
            counts[able[((2 * nth + 1) * len(able) - 1) // (2 * more)]] += 1
    return counts

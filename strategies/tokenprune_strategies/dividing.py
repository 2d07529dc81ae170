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
    one, other = (torch.tensor(part, dtype=torch.int64) for part in (first, last))
    return Split(one, torch.tensor(counts, dtype=torch.int64) - one - other, other)


def divided(tokens: VisualTokens, budget: Budget, weights: Sequence[float]) -> list[int]:
    """Counts of all rows: the total of each unit in proportion to the weights of its rows."""
    caps = tokens.counts.tolist()
    counts = [0] * len(caps)
    for rows, total in budget.units(tokens):
        shares = apportion(total, [weights[row] for row in rows], [caps[row] for row in rows])
        for row, share in zip(rows, shares, strict=True):
            counts[row] = share
    return counts

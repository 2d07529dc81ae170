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


def evenly_divided(tokens: VisualTokens, budget: Budget) -> list[int]:
    """Counts of all rows: the total of each unit, alike as far as rows go; those with one more are evenly spread."""
    counts, caps = divided(tokens, budget, [1] * tokens.shape[0]), tokens.counts.tolist()
    for rows, _ in budget.units(tokens):
        open_ = [counts[row] for row in rows if counts[row] < caps[row]]
        if not open_:
            continue
        able = [row for row in rows if caps[row] > min(open_)]  # which got that many, or one more
        more = sum(counts[row] for row in able) - min(open_) * len(able)
        middles = {
            able[((2 * nth + 1) * len(able) - 1) // (2 * more)] for nth in range(more)
        }  # of as many equal stretches
        for row in able:
            counts[row] = min(open_) + (row in middles)
    return counts

"""The budget spread evenly over the rows of an image (VisPruner, FasterVLM and most others)."""

from typing import final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.budget import Budget, apportion
from tokenprune.selection import Split
from tokenprune.strategy import BudgetSplitter
from tokenprune.tokens import VisualTokens


@final
class Equal(BudgetSplitter):
    """Every row of an image gets the same count, the lower rows one more where it does not divide; full rows pass on.

    Args:
        important: share of a row's count that is chosen by score, rounded down as VisPruner's authors do.
        merged: share of a row's count that are carriers, to the nearest, ties up; what is left of it is diverse.
    """

    important: float = Field(default=1.0, ge=0, le=1)
    merged: float = Field(default=0.0, ge=0, le=1)

    def split(self, tokens: VisualTokens, scores: Tensor, budget: Budget) -> Split:
        """[B] counts; exact in every unit."""
        caps = tokens.counts.tolist()
        counts = [0] * len(caps)
        for rows, total in budget.units(tokens):
            shares = apportion(total, [1] * len(rows), [caps[row] for row in rows])
            for row, share in zip(rows, shares, strict=True):
                counts[row] = share
        merged = [int(count * self.merged + 0.5) for count in counts]
        important = [min(int(count * self.important), count - own) for count, own in zip(counts, merged, strict=True)]
        first, last = (torch.tensor(part, dtype=torch.int64) for part in (important, merged))
        return Split(first, torch.tensor(counts, dtype=torch.int64) - first - last, last)

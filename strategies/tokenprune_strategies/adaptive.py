"""As many tokens as an image asks for, the budget being the most it may have (PruMerge, ICCV 2025; AgilePruner)."""

from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.budget import Budget, apportion
from tokenprune.selection import Split
from tokenprune.strategy import BudgetSplitter
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.dividing import parted
from tokenprune_strategies.wishes import wishes


@final
class Adaptive(BudgetSplitter):
    """Each row asks for a count of its own; where a unit's rows ask for more than its budget, they share it pro rata.

    ``outliers``: scores above Q3 + 1.5 (Q3 - Q1) (LLaVA-PruMerge, arXiv 2403.15388). ``entropy``: exp of the entropy of
    the scores as shares. ``rank``: the effective rank, exp of the entropy of the singular values of the row's unit
    vectors as shares (AgilePruner, arXiv 2603.01236); cost: eigenvalues of N x N, O(N^3). At least one token of a unit
    stays, and a budget of everything keeps everything. B numbers are read back from the device, once.

    Args:
        by: what is counted.
        important: share of a row's count that is chosen by score; see `Equal`.
        residual: carriers of each row, beside what it asks for; see `KnnWeighted`.
    """

    by: Literal["outliers", "entropy", "rank"] = "outliers"
    important: float = Field(default=1.0, ge=0, le=1)
    residual: int = Field(default=0, ge=0)

    @property
    def adaptive(self) -> bool:
        """Yes."""
        return True

    def split(self, tokens: VisualTokens, scores: Tensor, budget: Budget) -> Split:
        """[B] counts; never more than the budget of a unit."""
        caps = tokens.counts.tolist()
        wish = (wishes(tokens, scores, self.by) + self.residual).tolist()
        counts = [0] * len(caps)
        for rows, total in budget.units(tokens):
            full, asked = [caps[row] for row in rows], [min(wish[row], caps[row]) for row in rows]
            most = total if total == sum(full) else min(total, max(1, sum(asked)))
            for row, count in zip(rows, apportion(most, asked, full), strict=True):
                counts[row] = count
        merged = [min(self.residual, max(0, count - 1)) for count in counts]
        split = parted([count - own for count, own in zip(counts, merged, strict=True)], self.important, 0)
        return Split(split.important, split.diverse, torch.tensor(merged, dtype=torch.int64))

"""One pool: all rows of an image compete for its whole budget (DivPrune, CVPR 2025, on high-resolution crops)."""

from typing import final

from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.selection import Split
from tokenprune.strategy import BudgetSplitter
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.equal import Equal


@final
class GlobalPool(BudgetSplitter):
    """Rows of one unit are laid end to end and chosen from as one row, so a crop may get many tokens or none.

    Args:
        important: share of the budget that is chosen by score, rounded down.
        merged: share of the budget that are carriers; see `Equal`.
    """

    important: float = Equal.model_fields["important"].default
    merged: float = Equal.model_fields["merged"].default

    @property
    def pools(self) -> bool:
        """Yes."""
        return True

    def split(self, tokens: VisualTokens, scores: Tensor, budget: Budget) -> Split:
        """[G] counts, one row for each unit."""
        return Equal(important=self.important, merged=self.merged).split(tokens, scores, budget)

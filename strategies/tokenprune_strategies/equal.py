"""The budget spread evenly over the rows of an image (VisPruner, FasterVLM and most others)."""

from typing import final

from pydantic import Field
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.selection import Split
from tokenprune.strategy import BudgetSplitter
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.dividing import evenly_divided, parted


@final
class Equal(BudgetSplitter):
    """Every row of an image gets the same count; full rows pass on.

    Where it does not divide, the rows with one more are evenly spread: of a video with fewer tokens than frames, every
    so manieth frame keeps one.

    Args:
        important: share of a row's count that is chosen by score, rounded down as VisPruner's authors do.
        merged: share of a row's count that are carriers, to the nearest, ties up; what is left of it is diverse.
    """

    important: float = Field(default=1.0, ge=0, le=1)
    merged: float = Field(default=0.0, ge=0, le=1)

    def split(self, tokens: VisualTokens, scores: Tensor, budget: Budget) -> Split:
        """[B] counts; exact in every unit."""
        return parted(evenly_divided(tokens, budget), self.important, self.merged)

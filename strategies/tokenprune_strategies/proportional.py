"""The budget spread over the rows of an image by what their scores say of them (HoloV, arXiv 2510.02912)."""

from typing import Literal, final

from pydantic import Field
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.selection import Split
from tokenprune.strategy import BudgetSplitter
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.dividing import divided, parted
from tokenprune_strategies.equal import Equal
from tokenprune_strategies.scaling import clean, mean_of, valid_of


@final
class Proportional(BudgetSplitter):
    """Row b of an image gets a share f(s_b) / sum of f(s), s_b the mean or sum of its scores, exact to the token.

    Scores that are not finite count as zero. Cost: B numbers are read back from the device, once.

    Args:
        of: ``mean`` or ``sum`` over the valid tokens of a row.
        how: ``linear``: f(s) = s, and zero below; ``softmax``: f(s) = exp(s / temperature).
        temperature: of the softmax; large ones spread evenly.
        important: share of a row's count that is chosen by score; see `Equal`.
        merged: share of a row's count that are carriers; see `Equal`.
    """

    of: Literal["mean", "sum"] = "mean"
    how: Literal["linear", "softmax"] = "linear"
    temperature: float = Field(default=1.0, gt=0)
    important: float = Equal.model_fields["important"].default
    merged: float = Equal.model_fields["merged"].default

    def split(self, tokens: VisualTokens, scores: Tensor, budget: Budget) -> Split:
        """[B] counts; exact in every unit."""
        valid = valid_of(tokens)
        said = clean(scores, valid).sum(1) if self.of == "sum" else mean_of(clean(scores, valid), valid)[:, 0]
        said = said.nan_to_num()  # sums may overflow
        if self.how == "linear":
            return self._parted(divided(tokens, budget, said.clamp(min=0).tolist()))
        weights, values = [0.0] * len(said), said.double().cpu()
        for rows, _ in budget.units(tokens):
            shares = (values[rows] / self.temperature).nan_to_num().softmax(0).tolist()
            for row, share in zip(rows, shares, strict=True):
                weights[row] = share
        return self._parted(divided(tokens, budget, weights))

    def _parted(self, counts: list[int]) -> Split:
        return parted(counts, self.important, self.merged)

"""Tokens that stay take in their neighbours, and one more takes in what is left (LLaVA-PruMerge, arXiv 2403.15388)."""

from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.tokens import VisualTokens, top
from tokenprune_strategies.folding import edges, free_tokens
from tokenprune_strategies.neighbourhood import neighbours_of
from tokenprune_strategies.scaling import clean, valid_of
from tokenprune_strategies.space import nearest


@final
class KnnWeighted(Merger):
    """x_n + sum of w_m x_m over the K tokens m most similar to a token n that stays, dropped or not; w is the score.

    Carriers are the dropped tokens of highest score; each becomes the sum of w_m x_m over the dropped tokens nearest to
    it, itself among them: with one of them it is PruMerge's residual token. Weights are not normalised, as released.
    Scores below zero weigh nothing. Cost: one product, tokens that stay by tokens.

    Args:
        neighbours: K.
        weights: ``scores``; or ``mean``: plain means of a token and its neighbours, and of what a carrier takes in.
        by: the cue whose cosine is compared, such as ``keys``. None: the features.
    """

    neighbours: int = Field(default=32, ge=1)
    weights: Literal["scores", "mean"] = "scores"
    by: str | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The cue that is compared."""
        return frozenset() if self.by is None else frozenset({self.by})

    def merge(self, tokens: VisualTokens, scores: Tensor, selection: Selection, split: Split) -> Merge:
        """K + 1 edges for each token that stays, one for each that is dropped."""
        free, valid = free_tokens(tokens, selection), valid_of(tokens)
        carriers = top(scores, split.merged, free)
        lost = (free & ~carriers).any(1, keepdim=True)  # [B, 1]
        weight = clean(scores, valid).clamp(min=0) if self.weights == "scores" else valid.float()
        into = nearest(tokens, self.by, carriers, split.merged)
        into = torch.where(carriers, torch.arange(tokens.shape[1], device=into.device), into)
        comes = free & lost & carriers.any(1, keepdim=True)
        rest = edges(carriers, into, torch.where(comes, weight, 0), self.weights == "mean")
        most = max((split.important + split.diverse).tolist(), default=0)
        near = neighbours_of(tokens, self.by, selection.mask, most, self.neighbours)
        return near.edges(rest, weight, lost, self.weights == "mean")

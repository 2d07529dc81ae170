"""Importance = a weighted sum of other scores, each brought to one scale."""

from typing import Self, final

import torch
from pydantic import model_validator
from torch import Tensor

from tokenprune.named import Named
from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.scaling import Scale, scaled, valid_of


@final
class WeightedSum(Scorer):
    """score_n = sum over k of weight_k * scale(score_k)_n; the scale is taken in each row. Cost: that of its parts.

    For scales that differ, nest: a sum of one score is that score on its scale. Of no score: all tokens are alike.

    Args:
        of: the scores.
        weights: one for each of them. Empty: one each.
        scale: see `scaled`: ``none``, ``minmax``, ``softmax``, ``l2`` or ``rank``.
    """

    of: tuple[Named[Scorer], ...] = ()
    weights: tuple[float, ...] = ()
    scale: Scale = "minmax"

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.of):
            raise ValueError(f"{len(self.weights)} weights for {len(self.of)} scores; write one each, or none")
        return self

    @property
    def reads(self) -> frozenset[str]:
        """What its parts read."""
        return frozenset[str]().union(*(part.reads for part in self.of))

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        total, valid = tokens.features.new_zeros(tokens.shape, dtype=torch.float32), valid_of(tokens)
        for part, weight in zip(self.of, self.weights or (1.0,) * len(self.of), strict=True):
            total = total + weight * scaled(part.score(tokens), valid, self.scale)
        return total

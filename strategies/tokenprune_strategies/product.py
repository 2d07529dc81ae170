"""Importance = a product of other scores, each brought to one scale and raised to a power."""

from typing import Self, final

import torch
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor

from tokenprune.named import Named
from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.scaling import Scale, scaled, valid_of


@final
class Product(Scorer):
    """score_n = product over k of max(0, scale(score_k)_n) ^ power_k; the scale is taken in each row.

    A score that is not positive on its scale makes the product zero. Of no score: all tokens are alike. Cost: that of
    its parts.

    Args:
        of: the scores.
        powers: one for each of them, not negative. Empty: one each.
        scale: see `scaled`: ``none``, ``minmax``, ``softmax``, ``l2`` or ``rank``.
    """

    of: tuple[Named[Scorer], ...] = ()
    powers: tuple[NonNegativeFloat, ...] = ()
    scale: Scale = "minmax"

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if self.powers and len(self.powers) != len(self.of):
            raise ValueError(f"{len(self.powers)} powers for {len(self.of)} scores; write one each, or none")
        return self

    @property
    def reads(self) -> frozenset[str]:
        """What its parts read."""
        return frozenset[str]().union(*(part.reads for part in self.of))

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        total, valid = tokens.features.new_ones(tokens.shape, dtype=torch.float32), valid_of(tokens)
        for part, power in zip(self.of, self.powers or (1.0,) * len(self.of), strict=True):
            total = total * scaled(part.score(tokens), valid, self.scale).clamp(min=0) ** power
        return total

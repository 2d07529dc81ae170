"""Importance = length of the feature vector."""

from typing import final

from pydantic import Field
from torch import Tensor

from tokenprune import Scorer, VisualTokens


@final
class FeatureNorm(Scorer):
    """score_n = |x_n| ** power. Reads no cue, so it runs on every encoder.

    Args:
        power: below 1 it flattens differences, above 1 it sharpens them; the ranking is the same.
    """

    power: float = Field(default=1.0, gt=0, le=4)

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        return tokens.features.float().square().sum(-1).sqrt().pow(self.power)

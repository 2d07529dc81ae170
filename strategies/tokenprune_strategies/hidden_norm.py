"""Importance = the length of a token's own vector: needs nothing of the model, and a control for scores that do."""

from typing import Literal, final

from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens


@final
class HiddenNorm(Scorer):
    """score_n = sign * |x_n|, of the features in the stage's space. Cost: O(N C).

    Args:
        norm: ``l1`` or ``l2``.
        sign: 1: long vectors stay; -1: short ones.
    """

    norm: Literal["l1", "l2"] = "l2"
    sign: Literal[1, -1] = 1

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        length: Tensor = tokens.features.float().norm(p=int(self.norm[1]), dim=2)
        return self.sign * length

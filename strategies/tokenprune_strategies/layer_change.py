"""Importance = how much the last layer changed a token (V2Drop, CVPR 2026, arXiv 2509.01552)."""

from typing import Literal, final

from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens


@final
class LayerChange(Scorer):
    """score_n = sign * |h_n - g_n|, the vectors of a token before and after the layer that ran last. Cost: O(N C).

    Reads no attention and knows nothing of the question.

    Args:
        sign: 1: what changes most stays, as the authors have it; -1: what changes least.
    """

    sign: Literal[1, -1] = 1

    @property
    def reads(self) -> frozenset[str]:
        """The length of the change."""
        return frozenset({"layer_change"})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        return self.sign * tokens.cue("layer_change").float()

"""Importance = the attention a token receives from all others in one encoder layer (HiPrune, arXiv 2508.00553)."""

from typing import final

from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens


@final
class ReceivedAttention(Scorer):
    """score_n = mean over heads and queries of A[:, n], the softmax of one encoder layer. Cost: O(N^2) in that layer.

    Args:
        layer: encoder layer, from 0, or from the end below 0. None: the layer whose output the language model gets; on
            an encoder without CLS token the last one.
    """

    layer: int | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The attention received in that layer."""
        return frozenset({"received_attention" if self.layer is None else f"received_attention@{self.layer}"})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        (name,) = self.reads
        attention = tokens.cue(name).float()  # [B, H, N] or [B, N]
        return attention if attention.ndim == 2 else attention.mean(1)

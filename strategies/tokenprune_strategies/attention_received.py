"""Importance = the attention a token receives from all others (HiPrune, arXiv 2508.00553; VFlowOpt, ICCV 2025)."""

from typing import final

from pydantic import Field
from torch import Tensor

from tokenprune.strategy import Layer, Scorer
from tokenprune.tokens import VisualTokens


@final
class AttentionReceived(Scorer):
    """score_n = mean over heads and queries q of A[q, n], in one encoder layer, the CLS token among the queries.

    Cost: all queries of that layer once, O(N^2), in chunks; with ``times`` twice.

    Args:
        times: the mean is over the queries alone that receive more than so many times the mean, VFlowOpt's global ones
            (arXiv 2508.05211); where there are none, over all. None: over all.
        layer: encoder layer, from 0; negative ones count from the end; or a share of the depth, as ``33%``. None: the
            layer whose output the language model gets, or the last one where there is no CLS token.
    """

    times: float | None = Field(default=None, ge=0)
    layer: Layer | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The attention received."""
        times = "" if self.times is None else f"{self.times:.9f}".rstrip("0").rstrip(".")
        kind = f"global_attention:{times}" if times else "received_attention"
        return frozenset({kind + ("" if self.layer is None else f"@{self.layer}")})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        (name,) = self.reads
        received = tokens.cue(name).float()  # [B, N] or [B, H, N]
        return received if received.ndim == 2 else received.mean(1)

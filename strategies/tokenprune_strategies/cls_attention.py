"""Importance = the attention the CLS token pays to each token (FasterVLM, arXiv 2412.01818v1; VisPruner, ICCV 2025)."""

from typing import Literal, final

from torch import Tensor

from tokenprune.strategy import Layer, Scorer
from tokenprune.tokens import VisualTokens

_CUES = {"attention": "cls_attention", "logits": "cls_logits", "wide": "wide_cls_attention"}


@final
class ClsAttention(Scorer):
    """score_n = mean over heads of A[CLS, n], the softmax row of one encoder layer, not renormalised. Cost: O(N).

    Args:
        heads: ``mean`` or ``sum`` over heads; the ranking is the same.
        of: ``attention``; ``logits``: what it is before the softmax (GlobalCom2, arXiv 2501.05179); ``wide``: the
            attention of all heads taken as one (LLaVA-PruMerge, arXiv 2403.15388).
        layer: encoder layer, from 0, or a share of the depth, as ``21%``. None: the layer whose output the language
            model gets.
        without_cls: on an encoder that has no CLS token, ``received`` takes the attention each token receives, averaged
            over queries and heads (the authors' own rule for SigLIP); ``error`` refuses such a model.
    """

    heads: Literal["mean", "sum"] = "mean"
    of: Literal["attention", "logits", "wide"] = "attention"
    layer: Layer | None = None
    without_cls: Literal["received", "error"] = "received"

    @property
    def reads(self) -> frozenset[str]:
        """The CLS row, or the attention received."""
        at = "" if self.layer is None else f"@{self.layer}"
        received = f"|received_attention{at}" if self.without_cls == "received" else ""
        return frozenset({f"{_CUES[self.of]}{at}{received}"})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        (name,) = self.reads
        attention = tokens.cue(name).float()  # [B, H, N] or [B, N]
        if attention.ndim == 2:
            return attention
        return attention.mean(1) if self.heads == "mean" else attention.sum(1)

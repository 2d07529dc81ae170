"""Importance = the length of a token's key (the rule by which DART picks its pivots, EMNLP 2025, arXiv 2502.11494)."""

from typing import Literal, final

from torch import Tensor

from tokenprune.strategy import Layer, Scorer
from tokenprune.tokens import VisualTokens


@final
class KeyNorm(Scorer):
    """score_n = sign * |k_n|, the keys of all heads of one layer side by side. Cost: O(N C).

    Args:
        norm: ``l1`` or ``l2``.
        sign: 1: long keys stay; -1: short ones.
        layer: encoder layer, or a share of the depth; or ``previous`` or ``this``: that of the language model which ran
            last, or is about to. None: as in `AttentionReceived`, and in the language model the previous one.
    """

    norm: Literal["l1", "l2"] = "l1"
    sign: Literal[1, -1] = 1
    layer: Layer | Literal["previous", "this"] | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The keys."""
        return frozenset({"keys" + ("" if self.layer is None else f"@{self.layer}")})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        (name,) = self.reads
        length: Tensor = tokens.cue(name).float().norm(p=int(self.norm[1]), dim=1)
        return self.sign * length

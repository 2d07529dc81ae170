"""Importance = the attention that an image pays to its own tokens in the language model (VisionDrop, AAAI 2026)."""

from typing import Literal, final

from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens


@final
class VisualAttention(Scorer):
    """score_n = mean over heads and visual tokens q of A[q, n], softmax rows of one layer over the whole prompt.

    The mask is causal, so early tokens are seen by more queries and score higher (arXiv 2506.22283). Knows nothing of
    the question. Cost: one row of attention for each visual token.

    Args:
        layer: ``previous``: the layer that ran last; ``this``: the one about to run, as VisionDrop has it.
    """

    layer: Literal["previous", "this"] = "previous"

    @property
    def reads(self) -> frozenset[str]:
        """The attention that visual tokens receive from each other."""
        return frozenset({f"visual_attention@{self.layer}"})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        (name,) = self.reads
        return tokens.cue(name).float()

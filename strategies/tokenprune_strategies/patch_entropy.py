"""Importance = how much there is to tell of a patch's pixels (the second term of VFlowOpt, ICCV 2025, 2508.05211)."""

from math import log
from typing import final

import torch
from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import PIXELS, VisualTokens


@final
class PatchEntropy(Scorer):
    """score_n = -sum over grey levels g of p_ng log2 p_ng, p_ng the share of the pixels of token n at level g; bits.

    VFlowOpt (arXiv 2508.05211) adds its softmax over tokens to attention: `sum` with ``scale: softmax`` and a weight,
    which is zero in all that was released. There are 256 levels, from an image's darkest pixel to its brightest; the
    released code casts normalised pixels to bytes, which wraps around. A token of several patches has the pixels of
    all. Reads the pixels of CLIP and SigLIP encoders; needs no attention. Cost: one pass over the image, O(256 N).
    """

    @property
    def reads(self) -> frozenset[str]:
        """The shares of the levels."""
        return frozenset({PIXELS})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32, from 0 to 8; zero where there are no pixels."""
        levels = tokens.cue(PIXELS).float().nan_to_num(0, 0, 0).clamp(min=0)  # [B, 256, N]
        share = levels / levels.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        nats: Tensor = torch.special.xlogy(share, share).sum(1)
        return -nats / log(2)

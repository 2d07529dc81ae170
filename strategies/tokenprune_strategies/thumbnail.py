"""Importance of a crop's token = its own attention and the thumbnail's at that place (GlobalCom2, arXiv 2501.05179)."""

from typing import final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.named import Named
from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.cls_attention import ClsAttention
from tokenprune_strategies.overview import at_places, maps, overview_of
from tokenprune_strategies.scaling import clean, scaled, valid_of


@final
class Thumbnail(Scorer):
    """score_n = own_n / |own| + seen_n / |seen|, norms over the crop; seen = the thumbnail's scores, bilinear, there.

    Tokens of the thumbnail, and of images without one, have their own score alone. Cost: that of the score.

    Args:
        of: the score; GlobalCom2's is the CLS token's row before its softmax.
    """

    of: Named[Scorer] = Field(default_factory=lambda: ClsAttention(of="logits"))

    @property
    def reads(self) -> frozenset[str]:
        """What the score reads."""
        return self.of.reads

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        valid = valid_of(tokens)
        own, of = clean(self.of.score(tokens), valid), overview_of(tokens)
        unit = scaled(own, valid, "l2")
        if max(of, default=-1) < 0:
            return unit
        seen = scaled(at_places(maps(own, tokens), tokens, of), valid, "l2")
        crop = (torch.tensor(of) >= 0).to(own.device, non_blocking=True)[:, None]
        return unit + torch.where(crop, seen, 0)

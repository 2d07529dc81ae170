"""The tokens around those that are kept, then the highest of the others (HiPrune, arXiv 2508.00553)."""

from typing import final

import torch
from torch import Tensor

from tokenprune import ranks
from tokenprune.named import Named
from tokenprune.selection import Split
from tokenprune.strategy import Diversifier, Scorer
from tokenprune.tokens import VisualTokens, leading, top
from tokenprune_strategies.adjacent import adjacent


@final
class Neighbours(Diversifier):
    """Kept tokens are anchors: chosen are the cells above, below, left and right of them, what is left is filled up.

    Neighbours come by falling score; beyond the border there are none. Tokens without places have none either, so that
    all is filled up. Cost: two partial sorts.

    Args:
        fill: what fills up goes by this scorer, HiPrune's registers by a later layer. None: by the stage's.
    """

    fill: Named[Scorer] | None = None

    @property
    def reads(self) -> frozenset[str]:
        """What the scorer reads."""
        return self.fill.reads if self.fill else frozenset()

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        counts, held = split.diverse.tolist(), max(split.important.tolist(), default=0)
        if not any(counts):
            return torch.zeros_like(kept)
        free = ~kept if tokens.valid is None else tokens.valid & ~kept
        beside = adjacent(tokens, kept, held) & free
        if 4 * held > min(counts):  # else there is room for all of them
            beside &= top(scores.detach(), split.diverse, beside)
        other = (scores if self.fill is None else self.fill.score(tokens)).detach()
        free &= ~beside
        if kept.device.type in ranks.AT_HAND:
            return beside | top(other, split.diverse - beside.sum(1), free)
        rest = leading(other, max(counts), free)  # [B, M]
        left = split.diverse.to(kept.device, non_blocking=True)[:, None] - beside.sum(1, keepdim=True)
        return beside.scatter(1, rest, beside.gather(1, rest) | (torch.arange(max(counts), device=kept.device) < left))

"""The tokens around those that are kept, then the highest of the others (HiPrune, arXiv 2508.00553)."""

from typing import final

import torch
from torch import Tensor

from tokenprune.named import Named
from tokenprune.selection import Split
from tokenprune.strategy import Diversifier, Scorer
from tokenprune.tokens import VisualTokens, leading
from tokenprune_strategies.adjacent import adjacent
from tokenprune_strategies.similarity import mask


@final
class Neighbours(Diversifier):
    """Kept tokens are anchors: chosen are the cells above, below, left and right of them, what is left is filled up.

    Neighbours come by falling score; beyond the border there are none. Tokens without places have none either, so that
    all is filled up. Cost: two sorts.

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
        counts, size = split.diverse.tolist(), tokens.shape[1]
        if not any(counts):
            return torch.zeros_like(kept)
        shut = kept if tokens.valid is None else kept | ~tokens.valid
        other = scores if self.fill is None else self.fill.score(tokens)
        beside = adjacent(tokens, kept)
        turn = (1 + beside.byte()).masked_fill(shut, 0)  # [B, N] 2 comes before 1
        return mask(leading(torch.where(beside, scores, other).detach(), max(counts), turn), counts, size)

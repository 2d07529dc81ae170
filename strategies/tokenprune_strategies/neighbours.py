"""The tokens around those that are kept, then the highest of the others (HiPrune, arXiv 2508.00553)."""

from typing import final

import torch
from torch import Tensor

from tokenprune.named import Named
from tokenprune.selection import Split
from tokenprune.strategy import Diversifier, Scorer
from tokenprune.tokens import VisualTokens
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
        turn = torch.where(adjacent(tokens, kept), _rank(scores), size + _rank(other)).masked_fill(shut, 2 * size)
        return mask(turn.argsort(dim=1, stable=True)[:, : max(counts)], counts, size)


def _rank(scores: Tensor) -> Tensor:
    """[B, N] place in the order of falling scores, ties by index."""
    return scores.detach().argsort(dim=1, descending=True, stable=True).argsort(dim=1)

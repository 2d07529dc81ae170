"""Diverse tokens by dropping near-duplicates (VisPruner, ICCV 2025, arXiv 2412.01818)."""

from typing import final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.selection import Split
from tokenprune.strategy import Diversifier
from tokenprune.tokens import VisualTokens, ranking
from tokenprune_strategies.similarity import gather, groups, mask
from tokenprune_strategies.thinning import Thinning

_CACHE = 12 * 2**20  # bytes: on a CPU matrices that stay in the cache are worth more than a large batch
_MEMORY = 2**30


@final
class SimilarityDedup(Diversifier):
    """List what is not kept by falling score; each round drops tokens at even places that repeat one at an odd place.

    Similarity is the cosine. A vector that is zero or not finite is similar to nothing; ties drop the token that was
    listed first. Cost: one product of all pairs, then R / step passes over what is left of it.

    Args:
        step: tokens dropped in a round; never more than half of the list.
    """

    step: int = Field(default=8, ge=1)

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        end = split.diverse.tolist()
        start = (tokens.counts - split.important).where(split.diverse > 0, 0).tolist()
        longest = max(start, default=0)
        if not longest:
            return torch.zeros_like(kept)
        free = ~kept if tokens.valid is None else tokens.valid & ~kept
        order = ranking(scores, free)[:, :longest]  # [B, R]
        chosen = []
        limit = _CACHE if tokens.device.type == "cpu" else _MEMORY
        for rows in groups(len(start), 4 * longest**2, limit):
            thinning = Thinning(gather(tokens.unit_of(rows).detach(), order[rows]))
            left = order[rows].gather(1, thinning.run(start[rows], end[rows], self.step))
            chosen.append(mask(left, end[rows], tokens.shape[1]))
        return torch.cat(chosen)

"""Diverse tokens by farthest-point choice (DivPrune, CVPR 2025, arXiv 2503.02175)."""

from math import inf
from typing import final

import torch
from torch import Tensor

from tokenprune.selection import Split
from tokenprune.strategy import Diversifier
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.similarity import MATRIX, far_apart, groups, mask


@final
class MaxMin(Diversifier):
    """Each pick is the token whose smallest distance (1 - cosine) to all kept ones is largest.

    With nothing kept, the first is the token whose nearest other is farthest. A vector that is zero or not finite is
    similar to nothing; ties go to the lower index. Cost: one product of all pairs, then one row of it for each pick.

    Args:
        as_released: pick a token again when only duplicates of picked ones are left, as the authors' code does; then
            fewer tokens than the budget may stay.
    """

    as_released: bool = False

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row unless ``as_released``."""
        count = max(split.diverse.tolist(), default=0)
        if not count:
            return torch.zeros_like(kept)
        held, pool = None, tokens.valid
        if split.important.any():
            held, pool = kept, ~kept if pool is None else pool & ~kept
        chosen = []
        for rows in groups(len(kept), 4 * tokens.shape[1] ** 2, MATRIX):
            one = (None if pool is None else pool[rows], None if held is None else held[rows])
            picks = far_apart(tokens.unit.detach()[rows], count, *one, spent=1.0 if self.as_released else inf)
            chosen.append(mask(picks, split.diverse[rows].tolist(), tokens.shape[1]))
        return torch.cat(chosen)

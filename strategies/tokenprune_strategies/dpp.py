"""Diverse tokens by a determinantal point process that weighs relevance (CDPruner, NeurIPS 2025, arXiv 2506.10967)."""

from typing import final

from torch import Tensor

from tokenprune.selection import Split
from tokenprune.strategy import Diversifier
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.bounds import bounds, finite, share
from tokenprune_strategies.greedy import greedy
from tokenprune_strategies.volume import Volume

_LEAST = 1e-6  # relevance of the least relevant token, as the authors have it


@final
class Dpp(Diversifier):
    """Greedy MAP inference (Chen et al., NeurIPS 2018) of the kernel r_i cos_ij r_j: the set that spans most volume.

    r is the score, scaled to [1e-6, 1 + 1e-6] between the lowest and the highest of its row; scores that are all the
    same leave pure diversity. Where only repetitions of picked tokens are left, the highest scores go first. Cost: one
    product of all pairs, then T^2 N for T picks; of more than 8192 tokens T rows of products instead of all.

    Args:
        as_released: scale over the whole batch, so that crops depend on each other, and do not stop rounding errors
            when the tokens' rank is exhausted; then fewer tokens than the budget may stay.
    """

    as_released: bool = False

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row unless ``as_released``."""
        quality = self._relevance(finite(scores), tokens.valid).square()
        size = 4 * tokens.shape[1] * (tokens.shape[1] + max(split.total.tolist(), default=0))

        def begin(rows: slice, steps: int) -> Volume:
            return Volume(tokens.unit_of(rows).detach(), quality[rows], steps, clamp=not self.as_released)

        return greedy(tokens, scores, kept, split, begin, size, again=self.as_released)

    def _relevance(self, scores: Tensor, valid: Tensor | None) -> Tensor:
        """[B, N] above 0 and at most about 1."""
        low, high = bounds(scores, valid)
        if not self.as_released:
            return share(scores, low, high) + _LEAST
        return (scores - low.amin() + _LEAST) / (high.amax() - low.amin())

"""Tokens that cover all the others, weighed by score (SCOPE, arXiv 2510.24214; MMTok, ICLR 2026, arXiv 2508.18264)."""

from typing import final

from pydantic import Field
from torch import Tensor

from tokenprune import Diversifier, Split, VisualTokens
from tokenprune_strategies.coverage import Coverage, weighed
from tokenprune_strategies.greedy import greedy
from tokenprune_strategies.reach import reach, with_more
from tokenprune_strategies.space import similarity_space


@final
class FacilityLocation(Diversifier):
    """Each pick is the token of largest score_j^power * sum over i of max(0, reach_ij - cover_i); the cover then rises.

    i runs over the row's tokens; reach is the cosine, or with a ``temperature`` t the softmax over j of cos_ij / t.
    Scores below zero count as zero; a row that has none above weighs all alike. Cost: one product of all pairs, then a
    pass over all of it for each pick; it stays in memory (400 MB for 10,000 tokens).

    Args:
        power: how much the score counts; 0: not at all.
        temperature: of the softmax; MMTok's is 0.2. None: plain cosines.
        cover: cue [B, M, C], more to be covered (MMTok's words of the question). None: nothing.
        cover_space: cue [B, C, N] that is compared with these, such as ``projected``. None: the tokens themselves.
        cover_temperature: of the softmax over tokens for these.
        cover_weight: what all of these weigh against all tokens; MMTok's 1 to 0.5 is 2.
    """

    power: float = Field(default=1.0, ge=0)
    temperature: float | None = Field(default=None, gt=0)
    cover: str | None = None
    cover_space: str | None = None
    cover_temperature: float = Field(default=0.02, gt=0)
    cover_weight: float = Field(default=2.0, ge=0)

    @property
    def reads(self) -> frozenset[str]:
        """The cue to be covered, if there is one, and the space for it."""
        return frozenset(filter(None, (self.cover, self.cover and self.cover_space)))

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        valid, count = tokens.valid, tokens.shape[1]
        weight = weighed(scores, valid, self.power)
        more = tokens.cue(self.cover).detach() if self.cover else None  # [B, M, C]

        def begin(rows: slice, steps: int) -> Coverage:
            unit, there = tokens.unit_of(rows).detach(), None if valid is None else valid[rows]
            found, counted = reach(unit, there, self.temperature), there
            if more is not None:
                told = self.cover_temperature, self.cover_weight
                beside = similarity_space(tokens, self.cover_space, rows).detach()  # [b, N, C]
                found, counted = with_more(found, beside, more[rows], there, *told)
            return Coverage(found, counted, weight[rows])

        size = 4 * count * (count if more is None else 2 * count + 2 * more.shape[1])
        return greedy(tokens, scores, kept, split, begin, size)

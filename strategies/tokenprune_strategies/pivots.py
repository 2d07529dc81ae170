"""Tokens that are unlike a few pivots (DART, EMNLP 2025, arXiv 2502.11494)."""

from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.selection import Split
from tokenprune.strategy import Diversifier
from tokenprune.tokens import VisualTokens, ranking
from tokenprune_strategies.rounds import rounds, words
from tokenprune_strategies.similarity import gather


@final
class Pivots(Diversifier):
    """Each pivot, by falling score, takes an even share of the tokens of lowest cosine to it, those not taken yet.

    Pivots are the tokens of highest score; those that are not kept yet are chosen first. Words may be pivots too: they
    come after those, by falling L1 norm of their keys, and are not chosen. A share that does not divide gives the first
    pivots one more; ties go to the lower index. Cost: one product of the pivots with all tokens.

    Args:
        pivots: how many of the image; the authors take four, by the norm of their keys.
        words: how many of the question; the authors take four.
        layer: of the language model, whose keys of words are read: the ``previous`` one, or ``this``.
        as_released: every pivot takes the count divided by all pivots, rounded down, and pivots of the image come on
            top; so the budget may be missed by as many as there are pivots.
    """

    pivots: int = Field(default=8, ge=1)
    words: int = Field(default=0, ge=0)
    layer: Literal["previous", "this"] = "previous"
    as_released: bool = False

    @property
    def reads(self) -> frozenset[str]:
        """The words, where they are pivots."""
        return frozenset({f"text_keys@{self.layer}", "text_states"} if self.words else set())

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row unless ``as_released``."""
        if not split.diverse.any():
            return torch.zeros_like(kept)
        valid = torch.ones_like(kept) if tokens.valid is None else tokens.valid
        pivots = ranking(scores.detach(), valid)[:, : self.pivots]  # [B, P], not valid where a row has fewer tokens
        count = split.diverse.to(kept.device, non_blocking=True)[:, None]  # [B, 1]
        real, unit = valid.gather(1, pivots), tokens.unit.detach()
        new = real & ~kept.gather(1, pivots)
        new &= new.cumsum(1) <= count  # [B, P]
        chosen, vectors = torch.zeros_like(kept).scatter(1, pivots, new), gather(unit, pivots)
        if self.words:
            vectors, real = words(tokens, self.layer, self.words, vectors, real)
        left = count if self.as_released else count - new.sum(1, keepdim=True)
        return chosen | rounds(unit, vectors, real, left, kept | ~valid | chosen, not self.as_released)

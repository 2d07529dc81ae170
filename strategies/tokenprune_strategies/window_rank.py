"""Importance = how early a token comes in its window of the map (the local half of VScan, arXiv 2505.22654)."""

from typing import final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.ranks import grouped, ranking
from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.cls_attention import ClsAttention
from tokenprune_strategies.scaling import clean, standing, valid_of


@final
class WindowRank(Scorer):
    """score_n = (how high n's score ranks in its row) / 2 - (how many of its window rank higher).

    So any budget takes the best of every window before the second of any, the best windows first. Windows end at the
    borders of a row; tokens without places are cut into runs of window^2. Cost: that of the score, and two sorts.

    Args:
        attention: the score, which attention of the CLS token is ranked.
        window: tokens along a side of a window.
    """

    attention: ClsAttention = ClsAttention()
    window: int = Field(default=6, ge=1)

    @property
    def reads(self) -> frozenset[str]:
        """What the score reads."""
        return self.attention.reads

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        valid = valid_of(tokens)
        x = clean(self.attention.score(tokens), valid)
        falling, steps = ranking(x, tokens.valid), torch.arange(x.shape[1], device=x.device)
        window = self._windows(tokens).masked_fill(~valid, 2**32)
        ordered, place = grouped(window.gather(1, falling))  # [B, N], window by window, best first
        start = steps.masked_fill(ordered == ordered.roll(1, 1), 0).cummax(1).values
        behind = torch.empty_like(place).scatter_(1, falling.gather(1, place), steps - start)
        return standing(falling, valid) / 2 - behind

    def _windows(self, tokens: VisualTokens) -> Tensor:
        """[B, N] int64, a label for each window."""
        if tokens.place is None or tokens.canvas is None:
            return (torch.arange(tokens.shape[1], device=tokens.device) // self.window**2).expand(tokens.shape)
        y, x = (tokens.place // self.window).unbind(-1)
        return y * tokens.canvas[:, 1:] + x

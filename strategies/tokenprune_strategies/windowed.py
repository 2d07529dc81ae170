"""The best tokens of every part of the image (VScan, arXiv 2505.22654; HoloV, NeurIPS 2025, arXiv 2510.02912)."""

from typing import Literal, final

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from tokenprune.named import Named
from tokenprune.selection import Split
from tokenprune.strategy import Diversifier, Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.similarity import mask
from tokenprune_strategies.windows import by_quota, window_of


@final
class Windowed(Diversifier):
    """Every window of the map gives its highest tokens, as many as its share; exact by largest remainder.

    A window with fewer tokens than its share passes the rest on. Cost: three sorts.

    Args:
        window: height and width in cells; where tokens have no places, as many in order.
        segments: so many stretches of tokens in order, of even length, instead of windows (HoloV's 16).
        share: ``equal`` for all windows, or by the ``mean`` score of each (HoloV), where scores below zero are zero.
        scorer: what ranks tokens, VScan's by an earlier layer. None: the stage's.
    """

    window: tuple[PositiveInt, PositiveInt] = (6, 6)
    segments: int | None = Field(default=None, ge=1)
    share: Literal["equal", "mean"] = "equal"
    scorer: Named[Scorer] | None = None

    @property
    def reads(self) -> frozenset[str]:
        """What the scorer reads."""
        return self.scorer.reads if self.scorer else frozenset()

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        counts = split.diverse.tolist()
        if not any(counts):
            return torch.zeros_like(kept)
        free = ~kept if tokens.valid is None else tokens.valid & ~kept
        worth = (scores if self.scorer is None else self.scorer.score(tokens)).detach().float()
        windows = window_of(tokens, self.window, self.segments)
        total = split.diverse.to(kept.device, non_blocking=True)[:, None]  # [B, 1]
        order = by_quota(worth, windows, free, total, max(counts), self.share == "mean")
        return mask(order, counts, tokens.shape[1])

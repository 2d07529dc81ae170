"""Diverse tokens at even distances along what is left."""

from typing import final

import torch
from torch import Tensor

from tokenprune import Diversifier, Split, VisualTokens


@final
class Stride(Diversifier):
    """Of F free tokens the r-th is chosen when r * T / F passes a whole number: exactly T, evenly spread."""

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        free = ~kept if tokens.valid is None else tokens.valid & ~kept  # [B, N]
        rank = free.cumsum(-1)  # [B, N] 1 at the first free token, F at the last
        count = split.diverse.to(tokens.device)[:, None]  # [B, 1]
        among = rank[:, -1:].clamp(min=1)  # [B, 1] F
        before = torch.div((rank - 1) * count, among, rounding_mode="floor")
        return free & (torch.div(rank * count, among, rounding_mode="floor") > before)

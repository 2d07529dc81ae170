"""Scores on a scale that formulas can count on."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor


def finite(scores: Tensor) -> Tensor:
    """Scores in float32; one that is not finite is zero."""
    return scores.detach().float().nan_to_num(0, 0, 0)


def bounds(scores: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """[B, 1] smallest and largest of the valid scores of each row; of none, infinities."""
    if not scores.shape[1]:
        return scores.new_full((len(scores), 1), inf), scores.new_full((len(scores), 1), -inf)
    if valid is None:
        return scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    return (
        scores.masked_fill(~valid, inf).amin(1, keepdim=True),
        scores.masked_fill(~valid, -inf).amax(1, keepdim=True),
    )


def share(scores: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """[B, N] where each score stands between ``low`` and ``high`` [B, 1], from 0 to 1; one where they are the same."""
    half = (high / 2 - low / 2).clamp(min=torch.finfo(scores.dtype).tiny)  # halves, so that nothing overflows
    found = (scores / 2 - low / 2) / half
    return torch.where(high > low, found, torch.ones_like(found))

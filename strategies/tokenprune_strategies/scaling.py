"""What parts that combine or divide scores share: the tokens that count, and scores on a common scale."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens, ranking

Scale = Literal["none", "minmax", "softmax", "l2", "rank"]
_TINY = torch.finfo(torch.float32).tiny


def valid_of(tokens: VisualTokens) -> Tensor:
    """[B, N] bool."""
    return torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device) if tokens.valid is None else tokens.valid


def clean(scores: Tensor, valid: Tensor) -> Tensor:
    """[B, N] float32, zero where a score is not finite or a token not valid."""
    return scores.float().nan_to_num(0, 0, 0).masked_fill(~valid, 0)


def mean_of(values: Tensor, valid: Tensor) -> Tensor:
    """[B, 1] or [B, 1, C] mean over the valid tokens of [B, N] or [B, N, C]; zero where there are none."""
    mask = valid if values.ndim == 2 else valid[..., None]
    return values.masked_fill(~mask, 0).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


def standing(order: Tensor, valid: Tensor) -> Tensor:
    """[B, N] the share of the valid tokens that come no earlier in ``order`` [B, N], which begins with them."""
    count, steps = valid.sum(1, keepdim=True), torch.arange(order.shape[1], device=order.device).expand_as(order)
    left = (count - torch.empty_like(order).scatter_(1, order, steps)).clamp(min=0)
    return left / count.clamp(min=1)


def scaled(scores: Tensor, valid: Tensor, scale: Scale) -> Tensor:
    """Scores [B, N] of each row on a scale that others share; what is not finite counts as zero.

    Args:
        scores: [B, N].
        valid: [B, N] bool, the tokens that count; scores at others are not read.
        scale: ``minmax`` from 0 to 1; ``softmax`` over the row; ``l2``: the row has norm one; ``rank``: the share of
            the row that is ranked no higher, ties to the lower index; ``none``: as they are.
    """
    x = clean(scores, valid)
    if scale == "none":
        return x
    if scale == "softmax":
        return x.masked_fill(~valid, -torch.inf).softmax(-1).nan_to_num(0)
    if scale == "rank":
        return standing(ranking(x, valid), valid)
    x = x / x.abs().amax(1, keepdim=True).clamp(min=_TINY)  # so that no square overflows
    if scale == "l2":
        return x.div(x.norm(dim=1, keepdim=True).clamp(min=_TINY))
    low = x.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
    high = x.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
    return ((x - low) / (high - low).clamp(min=_TINY)).masked_fill(~valid, 0)

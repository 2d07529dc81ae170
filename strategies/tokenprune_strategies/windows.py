"""Windows of a map, and the order in which their tokens fill a count that is shared out among them."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens
from tokenprune_strategies.bounds import finite


def window_of(tokens: VisualTokens, window: tuple[int, int], segments: int | None) -> Tensor:
    """[B, N] int64, one number for each window of the map, or for each stretch of the valid tokens."""
    high, wide = window
    if segments is None and tokens.place is not None and tokens.canvas is not None:
        across = (tokens.canvas[:, 1:] + wide - 1) // wide  # [B, 1]
        return tokens.place[..., 0] // high * across + tokens.place[..., 1] // wide
    valid = torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device) if tokens.valid is None else tokens.valid
    nth, count = valid.cumsum(1) - 1, valid.sum(1, keepdim=True).clamp(min=1)  # [B, N], [B, 1]
    return nth // (high * wide) if segments is None else nth * segments // count


def quota_order(scores: Tensor, windows: Tensor, free: Tensor, total: Tensor, by_mean: bool) -> Tensor:
    """[B, N] tokens in the order of being taken, so that the first ``total`` [B, 1] are shared out over windows.

    Rank r (from 0) of a window whose share is q comes at once if r + 1 <= q, else by r + 1 - q: the largest remainder
    first, and what full windows leave goes round. Ties go to the higher score.

    Args:
        scores: [B, N] float32.
        windows: [B, N] int64.
        free: [B, N] bool, the tokens that may be taken; the others come last.
        total: [B, 1] int64.
        by_mean: shares in proportion to the windows' mean scores, not alike.
    """
    falling = scores.argsort(dim=1, descending=True, stable=True)
    window = windows.masked_fill(~free, 2**62).gather(1, falling)
    order = falling.gather(1, window.argsort(dim=1, stable=True))
    group, there = windows.gather(1, order), free.gather(1, order)  # windows one after the other, each by score
    fresh = torch.ones_like(there)
    fresh[:, 1:] = group[:, 1:] != group[:, :-1]
    fresh &= there
    place = torch.arange(order.shape[1], device=order.device)
    rank = place - place.where(fresh, 0).cummax(1).values  # [B, N]
    weight = _means(finite(scores).gather(1, order), fresh, there) if by_mean else there.double()  # [B, N]
    each = weight.where(fresh, 0).sum(1, keepdim=True)
    share = torch.where(each > 0, weight / each, 1 / fresh.sum(1, keepdim=True).clamp(min=1)) * total
    late = (rank + 1 - share).clamp(min=0).masked_fill(~there, inf)  # [B, N]
    turn = torch.empty_like(late).scatter_(1, order, late)
    return falling.gather(1, turn.gather(1, falling).argsort(dim=1, stable=True))


def _means(scores: Tensor, fresh: Tensor, there: Tensor) -> Tensor:
    """[B, N] float64 mean of the scores above zero of each token's window, windows one after the other."""
    window = (fresh.cumsum(1) - 1).clamp(min=0)  # [B, N]
    value, one = scores.double().clamp(min=0).where(there, 0), there.double()
    total = torch.zeros_like(value).scatter_add_(1, window, value)
    return (total / torch.zeros_like(one).scatter_add_(1, window, one).clamp(min=1)).gather(1, window)

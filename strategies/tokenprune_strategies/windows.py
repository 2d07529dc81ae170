"""Windows of a map, and the order in which their tokens fill a count that is shared out among them."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.ranks import grouped, ranking
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.bounds import finite

_LEAST = 1e-300  # far below any score, so that windows of zeros share alike


def window_of(tokens: VisualTokens, window: tuple[int, int], segments: int | None) -> Tensor:
    """[B, N] int64, one number for each window of the map, or for each stretch of the valid tokens."""
    high, wide = window
    if segments is None and tokens.place is not None and tokens.canvas is not None:
        across = (tokens.canvas[:, 1:] + wide - 1) // wide  # [B, 1]
        return tokens.place[..., 0] // high * across + tokens.place[..., 1] // wide
    nth = torch.arange(tokens.shape[1], device=tokens.device) if tokens.valid is None else tokens.valid.cumsum(1) - 1
    count = max(tokens.shape[1], 1) if tokens.valid is None else tokens.valid.sum(1, keepdim=True).clamp(min=1)
    return (nth // (high * wide) if segments is None else nth * segments // count).expand(tokens.shape)


def by_quota(scores: Tensor, windows: Tensor, free: Tensor, total: Tensor, most: int, by_mean: bool) -> Tensor:
    """[B, M] tokens in the order of being taken, so that the first ``total`` [B, 1] are shared out over windows.

    Rank r (from 0) of a window whose share is q comes at once if r + 1 <= q, else by r + 1 - q: the largest remainder
    first, and what full windows leave goes round. Ties go to the higher score.

    Args:
        scores: [B, N] float32.
        windows: [B, N] int64.
        free: [B, N] bool, the tokens that may be taken; the others come last.
        total: [B, 1] int64.
        most: M, the most tokens that a row takes.
        by_mean: shares in proportion to the windows' mean scores, not alike.
    """
    bits, steps = scores.shape[1].bit_length(), torch.arange(scores.shape[1], device=scores.device)
    falling, digits = ranking(scores), 61 - 2 * bits
    window, place = grouped(windows.masked_fill(~free, 2**32).gather(1, falling))  # [B, N], each window by score
    gone, fresh = window == 2**32, torch.ones_like(free)
    torch.ne(window[:, 1:], window[:, :-1], out=fresh[:, 1:])
    worth = finite(scores).double().clamp_(min=_LEAST) if by_mean else torch.ones_like(scores, dtype=torch.float64)
    worth = worth.gather(1, falling.gather(1, place)).masked_fill_(gone, 0)
    # How late a token comes, in so many binary digits, and below it its place among the falling: no two are alike.
    share = _shares(worth, fresh, total.double() * 2.0**digits).round_().long()
    rank = steps - steps.masked_fill(~fresh, 0).cummax(1).values
    turn = place.add(rank, alpha=1 << (digits + bits)).sub_(share, alpha=1 << bits).masked_fill_(gone, 1 << 62)
    return falling.gather(1, turn.topk(most, largest=False).values & ((1 << bits) - 1))


def _shares(worth: Tensor, fresh: Tensor, total: Tensor) -> Tensor:
    """[B, N] float64, what each token's window gets of ``total``, by its mean; ``fresh`` [B, N] where one begins."""
    nth = fresh.cumsum(1).sub_(1)  # [B, N]
    count = torch.zeros_like(worth).scatter_add_(1, nth, torch.ones_like(worth)).clamp_(min=1)  # [B, windows]
    mean = torch.zeros_like(worth).scatter_add_(1, nth, worth) / count
    return (mean * (total / mean.sum(1, keepdim=True))).gather(1, nth)

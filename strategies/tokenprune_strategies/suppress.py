"""What a picked token takes from those that resemble it or lie near it: one loop, and three ways to take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from tokenprune_strategies.bounds import bounds, finite, share
from tokenprune_strategies.similarity import Similarity, gather

_OUT = 4.0  # more than worths between 0 and 1 differ
_WIDTH = 0.3  # of the radius: AdaptPrune's 1.5 cells to its 5
Decay = Literal["subtract", "gaussian", "joint", "threshold"]
Away = Tensor | None
Take = Callable[[Tensor, Tensor, Away, int], Tensor]


class Suppress:
    """A token's gain is its worth less a penalty, which every pick may raise.

    Args:
        worth: [B, N] float32.
        similarity: cosines of the tokens.
        place: [B, N, 2] (y, x), or None where it has no say.
        take: new penalty [B, N] from the old one, the cosines to pick number k, the cells to it (or None), and k.
    """

    def __init__(self, worth: Tensor, similarity: Similarity, place: Tensor | None, take: Take) -> None:
        self._worth, self._similarity, self._place, self._take = worth, similarity, place, take
        self._penalty, self._step = torch.zeros_like(worth), 0

    def now(self) -> Tensor:
        """[B, N]."""
        return self._worth - self._penalty

    def add(self, pick: Tensor) -> None:
        """Take from what is like the tokens at ``pick`` [B, 1], or close to them."""
        away, self._step = None, self._step + 1
        if self._place is not None:
            away = (self._place - gather(self._place, pick)).float().norm(dim=2)  # [B, N]
        self._penalty = self._take(self._penalty, self._similarity.to(pick), away, self._step)


def worth(scores: Tensor, valid: Tensor | None, decay: Decay, balance: float) -> Tensor:
    """[B, N] what penalties are taken from: scores from 0 to 1 in each row, times ``balance``; or their logarithm."""
    scores = finite(scores)
    low, high = bounds(scores, valid)
    if decay in ("subtract", "threshold"):
        return share(scores, low, high) * (balance if decay == "subtract" else 1)
    return (scores - low.clamp(max=0)).clamp(min=torch.finfo(scores.dtype).tiny).log()


def subtract(rate: float, radius: float, cap: float, penalty: Tensor, cosine: Tensor, away: Away, step: int) -> Tensor:
    """``rate`` times the largest cosine, or closeness, to any pick (maximal marginal relevance)."""
    most = rate * (cosine if away is None else torch.maximum(cosine, (1 - away / radius).clamp(min=0)))
    return most if step == 1 else torch.maximum(penalty, most)


def gaussian(sigma: float, radius: float, cap: float, penalty: Tensor, cosine: Tensor, away: Away, step: int) -> Tensor:
    """The sum of squares / ``sigma``: off a logarithm that is to multiply by exp(-square / sigma) for every pick."""
    square = cosine.clamp(min=0).square()
    if away is not None:
        square = square + (1 - away / radius).clamp(min=0).square()
    return penalty.add(square, alpha=1 / sigma)


def joint(sigma: float, radius: float, cap: float, penalty: Tensor, cosine: Tensor, away: Away, step: int) -> Tensor:
    """Off a logarithm that is to multiply by 1 - exp(-(1 - cosine)^2 / 2 sigma^2) times the like of distance."""
    like = (-0.5 * ((1 - cosine) / sigma).square()).exp()
    if away is not None:
        like = (like * (-0.5 * (away / (_WIDTH * radius)).square()).exp()).where(away <= radius, 0)
    return penalty - (1 - like).clamp(min=torch.finfo(like.dtype).tiny).log()


def threshold(
    limit: Tensor | float, radius: float, cap: float, penalty: Tensor, cosine: Tensor, away: Away, step: int
) -> Tensor:
    """Out where 1 - cosine < ``limit``, times the pick's number if it is a tensor, at most ``cap``; or where close."""
    within = limit * step if isinstance(limit, Tensor) else torch.full_like(penalty[:, :1], limit)  # [B, 1]
    out = 1 - cosine < within.clamp(max=cap)
    return penalty.masked_fill(out if away is None else out | (away < radius), _OUT)


TAKES: dict[Decay, Callable[..., Tensor]] = {
    "subtract": subtract,
    "gaussian": gaussian,
    "joint": joint,
    "threshold": threshold,
}

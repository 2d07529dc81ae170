"""What a picked token takes from those that resemble it or lie near it: one loop, and three ways to take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from tokenprune_strategies.bounds import bounds, finite, share
from tokenprune_strategies.similarity import Similarity, gather

_OUT = 4.0  # more than worths between 0 and 1 differ
Decay = Literal["subtract", "gaussian", "threshold"]
Take = Callable[[Tensor, Tensor, Tensor | None, int], Tensor]


class Suppress:
    """A token's gain is its worth less a penalty, which every pick may raise.

    Args:
        worth: [B, N] float32.
        similarity: cosines of the tokens.
        place: [B, N, 2] (y, x), or None where it has no say.
        radius: cells from which on tokens are not close any more.
        take: new penalty [B, N] from the old one, the cosines to pick number k, how close it is (1 to 0, or None), k.
    """

    def __init__(self, worth: Tensor, similarity: Similarity, place: Tensor | None, radius: float, take: Take) -> None:
        self._worth, self._similarity, self._place, self._radius, self._take = worth, similarity, place, radius, take
        self._penalty, self._step = torch.zeros_like(worth), 0

    def now(self) -> Tensor:
        """[B, N]."""
        return self._worth - self._penalty

    def add(self, pick: Tensor) -> None:
        """Take from what is like the tokens at ``pick`` [B, 1], or close to them."""
        close, self._step = None, self._step + 1
        if self._place is not None:
            away = (self._place - gather(self._place, pick)).float().norm(dim=2)  # [B, N]
            close = (1 - away / self._radius).clamp(min=0)
        self._penalty = self._take(self._penalty, self._similarity.to(pick), close, self._step)


def worth(scores: Tensor, valid: Tensor | None, decay: Decay, balance: float) -> Tensor:
    """[B, N] what penalties are taken from: scores from 0 to 1 in each row, times ``balance``; or their logarithm."""
    scores = finite(scores)
    low, high = bounds(scores, valid)
    if decay != "gaussian":
        return share(scores, low, high) * (balance if decay == "subtract" else 1)
    return (scores - low.clamp(max=0)).clamp(min=torch.finfo(scores.dtype).tiny).log()


def subtract(rate: float, penalty: Tensor, cosine: Tensor, close: Tensor | None, step: int) -> Tensor:
    """``rate`` times the largest cosine, or closeness, to any pick (maximal marginal relevance)."""
    most = rate * (cosine if close is None else torch.maximum(cosine, close))
    return most if step == 1 else torch.maximum(penalty, most)


def gaussian(rate: float, penalty: Tensor, cosine: Tensor, close: Tensor | None, step: int) -> Tensor:
    """The sum of squares / ``rate``: off a logarithm that is to multiply by exp(-square / rate) for every pick."""
    square = cosine.clamp(min=0).square()
    return penalty.add(square if close is None else square.addcmul(close, close), alpha=1 / rate)


def threshold(
    limit: Tensor | float, grows: bool, cap: float, penalty: Tensor, cosine: Tensor, close: Tensor | None, step: int
) -> Tensor:
    """Out where 1 - cosine is less than ``limit`` (times the pick's number if it ``grows``), or where it is close."""
    within = (limit * step if grows else limit) * torch.ones_like(penalty[:, :1])  # [B, 1]
    out = 1 - cosine < within.clamp(max=cap)
    return penalty.masked_fill(out if close is None else out | (close > 0), _OUT)

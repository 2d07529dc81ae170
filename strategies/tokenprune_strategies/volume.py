"""How much volume a token would add to those that are picked: greedy inference of a determinantal point process."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from tokenprune_strategies.similarity import Similarity

_SPENT = 1e-5  # a squared length that is rounding alone: what repeats picked tokens is left with no more


class Volume:
    """log det of (r_i cos_ij r_j) grows most by the token of largest r_i^2 d_i (Chen et al., NeurIPS 2018).

    d_i is the squared length of token i across all picked ones, one at first. Picking j takes e_i^2 from it, where
    e_i = (cos_ij - sum over picked t of e_ti e_tj) / sqrt(d_j): a Cholesky factor, one row a step, which r only scales.

    Args:
        unit: [B, N, C] float32, vectors of norm one or zero.
        quality: [B, N] float32, r squared, above 0 and at most about 1.
        steps: how many picks there will be.
        clamp: whether tokens without any volume left go on by falling quality. If not, what is left is not a number.
    """

    def __init__(self, unit: Tensor, quality: Tensor, steps: int, clamp: bool = True) -> None:
        self._similarity, self._quality, self._clamp = Similarity(unit), quality, clamp
        self._left = torch.linalg.vector_norm(unit, dim=2).square()  # [B, N]
        self._rest = -quality.reciprocal()
        self._factor = unit.new_empty(len(unit), steps, unit.shape[1])  # [B, T, N]
        self._step = 0

    def now(self) -> Tensor:
        """[B, N] what the determinant would be multiplied with; below zero, by quality, where that is nothing."""
        found = self._quality * self._left
        return torch.where(self._left > _SPENT, found, self._rest) if self._clamp else found

    def add(self, pick: Tensor) -> None:
        """Take the direction of the tokens at ``pick`` [B, 1] from all others."""
        row = self._similarity.to(pick)  # [B, N]
        before = self._factor[:, : self._step]
        new = self._factor[:, self._step : self._step + 1]  # [B, 1, N]
        own = before.gather(2, pick[:, None].expand(-1, self._step, -1))  # [B, t, 1]
        torch.baddbmm(row[:, None], own.mT, before, alpha=-1, out=new)
        length = self._left.gather(1, pick)
        new *= (length.clamp(min=_SPENT) if self._clamp else length).rsqrt()[:, None]
        self._left = self._left.addcmul(new[:, 0], new[:, 0], value=-1)
        if not self._clamp:
            self._left.scatter_(1, pick, -inf)
        self._step += 1

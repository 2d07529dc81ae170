"""How much more of what there is to cover a token would cover: greedy facility location."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from tokenprune_strategies.bounds import finite
from tokenprune_strategies.similarity import base

_CACHE = 2**21  # bytes of one pass over the matrix: on a CPU what is in between should stay in the cache
_MEMORY = 2**26


class Coverage:
    """A token's gain is its weight times the sum over targets i of max(0, reach_ij - cover_i).

    cover_i is the largest reach of a picked token to i, zero at first. The sum is taken anew in every step.

    Args:
        reach: [B, N, R] float32, how well each token covers each of R targets.
        counted: [B, R] bool, the targets that count. None: all.
        weight: [B, N] float32, not negative.
    """

    def __init__(self, reach: Tensor, counted: Tensor | None, weight: Tensor) -> None:
        self._reach, self._weight, self._first = reach, weight, base(reach)
        self._cover = reach.new_zeros(len(reach), 1, reach.shape[2])  # [B, 1, R]
        if counted is not None:
            self._cover.masked_fill_(~counted[:, None], inf)
        limit = _CACHE if reach.device.type == "cpu" else _MEMORY
        each = max(1, limit // max(1, 4 * len(reach) * reach.shape[2]))
        self._parts = torch.split(reach, each, 1)
        self._more = torch.empty_like(self._parts[0])

    def now(self) -> Tensor:
        """[B, N]."""
        found = [self._gain(part) for part in self._parts]
        return (found[0] if len(found) == 1 else torch.cat(found, 1)) * self._weight

    def _gain(self, part: Tensor) -> Tensor:
        """[B, M] of [B, M, R]."""
        more = torch.sub(part, self._cover, out=self._more[:, : part.shape[1]])
        return more.clamp_(min=0).sum(2)

    def add(self, pick: Tensor) -> None:
        """Cover what the tokens at ``pick`` [B, 1] reach."""
        row = self._reach.flatten(0, 1).index_select(0, (pick + self._first)[:, 0])  # [B, R]
        self._cover = torch.maximum(self._cover, row[:, None])


def weighed(scores: Tensor, valid: Tensor | None, power: float) -> Tensor:
    """[B, N] score ^ power, those below zero as zero; one each in rows that have none above."""
    weight = finite(scores).clamp(min=0)
    some = (weight > 0 if valid is None else (weight > 0) & valid).any(1, keepdim=True)
    return weight.where(some, 1) ** power

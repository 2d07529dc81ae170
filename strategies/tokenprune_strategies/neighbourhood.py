"""The tokens most similar to each of some, as edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokenprune.selection import Merge
from tokenprune.tokens import leading
from tokenprune_strategies.similarity import gather


@dataclass(frozen=True)
class Neighbourhood:
    """K neighbours of each of T tokens of a row.

    Args:
        centre: [B, T] int64, tokens.
        near: [B, T, K] int64, their neighbours by falling similarity.
        real: [B, T, K] bool; rows with fewer tokens are filled up.
        filled: [B, T] bool, the same of centres.
    """

    centre: Tensor
    near: Tensor
    real: Tensor
    filled: Tensor

    def edges(self, rest: Merge, weight: Tensor, where: Tensor, mean: bool) -> Merge:
        """``rest``, and: each centre becomes itself and its neighbours by ``weight`` [B, N], in rows ``where`` [B, 1].

        Or the plain mean of them, if ``mean``.
        """
        batch, count = weight.shape
        first = torch.arange(batch, device=weight.device)[:, None] * count
        there = weight.gather(1, self.near.flatten(1)).view(self.near.shape) * self.real  # [B, T, K]
        own = self.filled.float()  # [B, T]
        if mean:
            size = (self.real.sum(2) + 1).float()
            there, own = self.real / size[..., None], own / size
        there, own = there * where[..., None], own * where
        into = (self.centre + first)[..., None].expand_as(self.near)
        source = torch.cat([rest.source, (self.near + first[..., None]).flatten(), (self.centre + first).flatten()])
        target = torch.cat([rest.target, into.flatten(), (self.centre + first).flatten()])
        return Merge(rest.carriers, source, target, torch.cat([rest.weight, there.flatten(), own.flatten()]))


def neighbours_of(vectors: Tensor, centres: Tensor, valid: Tensor, most: int, count: int) -> Neighbourhood:
    """The ``count`` valid others most similar to each of ``centres`` [B, N], at most ``most`` a row; ties go low."""
    order = centres.byte().argsort(dim=1, descending=True, stable=True)[:, :most]  # [B, T]
    filled = centres.gather(1, order)
    at = gather(vectors, order)
    similar = (at @ vectors.mT).masked_fill(~valid[:, None], -torch.inf)  # [B, T, N]
    similar = similar.scatter(2, order[..., None], -torch.inf)
    near = leading(similar, count)  # [B, T, K]
    return Neighbourhood(order, near, (similar.gather(2, near) > -torch.inf) & filled[..., None], filled)

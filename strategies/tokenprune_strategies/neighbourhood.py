"""The tokens most similar to each of some, as edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokenprune.selection import Merge
from tokenprune.tokens import VisualTokens, leading
from tokenprune_strategies.scaling import valid_of
from tokenprune_strategies.similarity import base, gather
from tokenprune_strategies.space import similarity_space, some_rows


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
        first = base(weight)  # [B, 1]
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


def neighbours_of(tokens: VisualTokens, by: str | None, centres: Tensor, most: int, count: int) -> Neighbourhood:
    """The ``count`` valid others most similar to each of ``centres`` [B, N], at most ``most`` a row; ties go low."""
    order = centres.byte().argsort(dim=1, descending=True, stable=True)[:, :most]  # [B, T]
    valid, filled, near, real = valid_of(tokens), centres.gather(1, order), [], []
    for rows in some_rows(tokens, by):
        vectors, own = similarity_space(tokens, by, rows), order[rows]
        similar = (gather(vectors, own) @ vectors.mT).scatter_(2, own[..., None], -torch.inf)  # [b, T, N]
        near.append(leading(similar.masked_fill_(~valid[rows, None], -torch.inf), count))  # [b, T, K]
        real.append((similar.gather(2, near[-1]) > -torch.inf) & filled[rows, :, None])
    return Neighbourhood(order, torch.cat(near), torch.cat(real), filled)

"""Rounds of bipartite soft matching (arXiv 2210.09461) on rows of any length."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens
from tokenprune_strategies.similarity import gather


class Matching:
    """What has been merged so far.

    Args:
        unit: [B, N, C] float32, vectors of norm one or zero.
        free: [B, N] bool, the tokens that take part.
    """

    def __init__(self, unit: Tensor, free: Tensor) -> None:
        self.into = torch.arange(free.shape[1], device=free.device).expand(free.shape)  # [B, N] where each has gone
        self._total = unit  # [B, N, C] sum of the vectors in each; only its direction counts
        self._alive = free

    def round(self, left: Tensor, pairs: Tensor) -> None:
        """Merge ``pairs`` [B] of the ``left`` [B] tokens of each row; both on the host."""
        order = self._alive.byte().argsort(dim=1, descending=True, stable=True)[:, : int(left.max())]  # [B, L]
        rank = torch.arange(order.shape[1], device=order.device)
        real = rank < left.to(order.device, non_blocking=True)[:, None]
        even, odd, there = order[:, ::2], order[:, 1::2], real[:, 1::2]
        one, other = (VisualTokens(gather(self._total, side)).unit for side in (even, odd))
        similar = (one @ other.mT).masked_fill(~there[:, None], -torch.inf)
        best, partner = similar.masked_fill(~real[:, ::2, None], -torch.inf).max(2)  # [B, L / 2]
        place = best.argsort(dim=1, descending=True, stable=True)
        gone = rank[: place.shape[1]] < pairs.to(order.device, non_blocking=True)[:, None]
        gone = torch.zeros_like(gone).scatter_(1, place, gone)  # [B, L / 2]
        self._fold(even, odd.gather(1, partner), gone)

    def _fold(self, source: Tensor, target: Tensor, gone: Tensor) -> None:
        """Merge tokens ``source`` into ``target`` where ``gone``; all [B, M]."""
        here = torch.arange(self.into.shape[1], device=source.device).expand(self.into.shape)
        parent = here.scatter(1, source, torch.where(gone, target, source))
        self.into = parent.gather(1, self.into)
        wide = (-1, -1, self._total.shape[2])
        moved = self._total.gather(1, source[..., None].expand(wide)) * gone[..., None]
        self._total = self._total.scatter_add(1, target[..., None].expand(wide), moved)
        self._alive = self._alive & (parent == here)

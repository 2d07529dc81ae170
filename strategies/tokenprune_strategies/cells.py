"""Tokens that belong together: cells by number, and the best token of each."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.ranks import grouped, ranking
from tokenprune_strategies.similarity import base


def numbered(labels: Tensor, free: Tensor) -> Tensor:
    """[B, N] int64: the cells of each row numbered from 0 by rising label [B, N]; the last numbers are not free."""
    ordered, order = grouped(labels.masked_fill(~free, 2**32))
    new = (ordered != ordered.roll(1, 1)).long()
    new[:, :1] = 0
    return torch.empty_like(order).scatter_(1, order, new.cumsum(1))


def ranks(scores: Tensor) -> tuple[Tensor, Tensor]:
    """[B, N] tokens by falling score, ties to the lower index; and the rank of each token."""
    order = ranking(scores)
    steps = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return order, torch.empty_like(order).scatter_(1, order, steps)


def heads(cell: Tensor, scores: Tensor, free: Tensor) -> Tensor:
    """[B, N] int64, the free token of highest score in the cell of each free token; elsewhere any token."""
    order, rank = ranks(scores)
    last = rank.shape[1]
    best = rank.new_full((len(rank), last + 1), last - 1)
    best = best.scatter_reduce(1, torch.where(free, cell, last), rank, "amin")
    return order.gather(1, best.gather(1, cell.clamp(max=last)))


def means_at(x: Tensor, slot: Tensor, count: int) -> Tensor:
    """[B, count, C] means of the vectors [B, N, C] in each of so many slots [B, N]; slot ``count`` is left out."""
    size = x.new_zeros(len(x), count + 1).scatter_add_(1, slot, torch.ones_like(x[..., 0]))  # [B, count + 1]
    if x.device.type == "cpu":
        total = x.new_zeros(size.numel(), x.shape[2])
        total = total.index_add_(0, (slot + base(size)).flatten(), x.flatten(0, 1)).view(*size.shape, x.shape[2])
    else:  # where the order of such a sum is left open
        member = x.new_zeros(*slot.shape, count + 1).scatter_(2, slot[..., None], 1)
        total = member.mT @ x
    return total[:, :count] / size[:, :count, None].clamp(min=1)

"""Tokens in an order, cut into runs of equal length."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from tokenprune.selection import Merge
from tokenprune_strategies.folding import edges


def in_line(free: Tensor, line: Tensor | None) -> tuple[Tensor, Tensor]:
    """[B, N] free tokens first, by rising ``line`` [B, N], None: as they come; and the place of each of them there."""
    steps = torch.arange(free.shape[1], device=free.device).expand(free.shape)
    if line is None:
        rank = free.cumsum(1) - 1
        order = steps.new_zeros(len(free), free.shape[1] + 1).scatter_(1, rank.where(free, free.shape[1]), steps)
        return order[:, :-1], rank
    order = line.masked_fill(~free, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
    return order, torch.empty_like(order).scatter_(1, order, steps)


def middles(order: Tensor, rank: Tensor, size: Tensor, runs: Tensor) -> Tensor:
    """[B, N] the middle token of each token's run, where the first ``size`` of each row are cut into so many runs.

    Lengths of runs differ by one where it does not divide.

    Args:
        order: [B, N] tokens, see `in_line`.
        rank: [B, N] the place of each token in it.
        size: [B, 1] int64 on the host, at least one.
        runs: [B, 1] int64 on the host, at most ``size``; tokens of rows that have none get any token.
    """
    most = max(1, int(runs.max())) if len(runs) else 1
    ends = torch.arange(most + 1) * size // -runs.clamp(min=1)  # [B, M + 1], minus where each run begins
    middle = (-(ends[:, :-1] + ends[:, 1:]) - 1).div(2, rounding_mode="floor").clamp(0, max(order.shape[1] - 1, 0))
    size, runs, middle = (one.to(order.device, non_blocking=True) for one in (size, runs, middle))
    return order.gather(1, middle).gather(1, (rank * runs // size).clamp(0, most - 1))


@lru_cache(maxsize=16)
def alike(batch: int, count: int, runs: int, device: torch.device) -> Merge:
    """The mean of each of ``runs`` runs of rows of which every token is free; its middle token is the carrier.

    Images are mostly of one size, so that it is remembered; nobody writes to it.
    """
    with torch.inference_mode(False):  # remembered for calls too that ask for gradients
        order = torch.arange(count)[None]
        into = middles(order, order, torch.tensor([[count]]), torch.tensor([[runs]])).expand(batch, -1)
        carriers, weight = into == order, torch.ones(batch, count)
        return edges(carriers.to(device), into.to(device), weight.to(device), mean=True)

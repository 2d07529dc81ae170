"""What mergers share: the tokens that nobody chose, evenly spread carriers among them, and edges to targets."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.similarity import base, gather


def free_tokens(tokens: VisualTokens, selection: Selection) -> Tensor:
    """[B, N] bool, valid tokens that nobody chose."""
    free = ~(selection.important | selection.diverse)
    return free if tokens.valid is None else free & tokens.valid


def similarity_space(tokens: VisualTokens, by: str | None) -> Tensor:
    """[B, N, C] of norm one: the features, or the cue called ``by``, which is [B, C, N]."""
    if by is None:
        return tokens.unit
    x = tokens.cue(by).float()
    unit: Tensor = (x / x.norm(dim=1, keepdim=True)).nan_to_num_(0, 0, 0)  # as `VisualTokens.unit`
    return unit.mT


def evenly(free: Tensor, tokens: VisualTokens, split: Split) -> Tensor:
    """[B, N] bool, ``split.merged`` of the free tokens of each row: the first of every so many, in their order."""
    left = tokens.counts - split.important - split.diverse
    step = (left // split.merged.clamp(min=1)).clamp(min=1).to(free.device, non_blocking=True)[:, None]
    rank = free.cumsum(1) - 1  # [B, N]
    return free & (rank % step == 0) & (rank // step < split.merged.to(free.device, non_blocking=True)[:, None])


def nearest(vectors: Tensor, targets: Tensor, most: int) -> Tensor:
    """[B, N] int64, the target most similar to each token; ties go to the lower index.

    Args:
        vectors: [B, N, C] float32.
        targets: [B, N] bool, at least one and at most ``most`` in each row that is read.
        most: on the host, so that no shape depends on the device.
    """
    order = targets.byte().argsort(dim=1, descending=True, stable=True)[:, :most]  # [B, T]
    at = gather(vectors, order)  # [B, T, C]
    similar = (vectors @ at.mT).masked_fill(~targets.gather(1, order)[:, None], float("-inf"))  # [B, N, T]
    return order.gather(1, similar.argmax(2))


def edges(carriers: Tensor, into: Tensor, weight: Tensor, mean: bool = False) -> Merge:
    """One edge from each token to the token ``into`` [B, N] of its row, with ``weight`` [B, N], or their mean by it."""
    if mean:
        weight = weight / total_at(into, weight).clamp(min=torch.finfo(torch.float32).tiny)
    source = torch.arange(into.numel(), device=into.device)
    return Merge(carriers, source, (into + base(into)).flatten(), weight.flatten())


def total_at(into: Tensor, values: Tensor) -> Tensor:
    """[B, N] the sum of ``values`` [B, N] over the tokens that go into the same target as each token."""
    return torch.zeros_like(values).scatter_add_(1, into, values).gather(1, into)

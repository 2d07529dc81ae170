"""What mergers share: the tokens that nobody chose, evenly spread carriers among them, and edges to targets."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.similarity import base


def free_tokens(tokens: VisualTokens, selection: Selection) -> Tensor:
    """[B, N] bool, valid tokens that nobody chose."""
    free = ~(selection.important | selection.diverse)
    return free if tokens.valid is None else free & tokens.valid


def evenly(free: Tensor, tokens: VisualTokens, split: Split) -> Tensor:
    """[B, N] bool, ``split.merged`` of the free tokens of each row: the first of every so many, in their order."""
    if not split.merged.any():
        return torch.zeros_like(free)
    left = tokens.counts - split.important - split.diverse
    step = (left // split.merged.clamp(min=1)).clamp(min=1).to(free.device, non_blocking=True)[:, None]
    rank = free.cumsum(1) - 1  # [B, N]
    return free & (rank % step == 0) & (rank // step < split.merged.to(free.device, non_blocking=True)[:, None])


def edges(carriers: Tensor, into: Tensor, weight: Tensor, mean: bool = False) -> Merge:
    """One edge from each token to the token ``into`` [B, N] of its row, with ``weight`` [B, N], or their mean by it."""
    if mean:
        weight = weight / total_at(into, weight).clamp(min=torch.finfo(torch.float32).tiny)
    source = torch.arange(into.numel(), device=into.device)
    return Merge(carriers, source, (into + base(into)).flatten(), weight.flatten())


def total_at(into: Tensor, values: Tensor) -> Tensor:
    """[B, N] the sum of ``values`` [B, N] over the tokens that go into the same target as each token."""
    return torch.zeros_like(values).scatter_add_(1, into, values).gather(1, into)

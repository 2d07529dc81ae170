"""The loop of every greedy choice: one token a step in each row, first those kept, then the best of the others."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from tokenprune.selection import Split
from tokenprune.tokens import VisualTokens, ranking
from tokenprune_strategies.similarity import groups, mask

_CACHE = 12 * 2**20  # bytes: on a CPU matrices that stay in the cache are worth more than a large batch
_MEMORY = 2**29


class Gains(Protocol):
    """What a token would add to those that are picked already."""

    def now(self) -> Tensor:
        """[B, N] float32, never NaN; the largest is picked next."""

    def add(self, pick: Tensor) -> None:
        """Take note of the tokens at ``pick`` [B, 1]."""


Begin = Callable[[slice, int], Gains]


def greedy(
    tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split, begin: Begin, size: int, again: bool = False
) -> Tensor:
    """Choose as `tokenprune.Diversifier.choose` does; ties go to the lower index, kept tokens come first by score.

    Args:
        tokens: B rows of N tokens.
        scores: [B, N] float32.
        kept: [B, N] bool.
        split: how many of each row.
        begin: makes the gains of a slice of rows, before anything is picked, for so many steps.
        size: bytes that the gains of one row take.
        again: whether a picked token may be picked once more, so that fewer different ones may be chosen.

    Returns:
        [B, N] bool.
    """
    totals, held = split.total.where(split.diverse > 0, 0).tolist(), split.important.tolist()
    if not any(totals):
        return torch.zeros_like(kept)
    order = ranking(scores.detach(), kept)
    shut = kept if tokens.valid is None else kept | ~tokens.valid
    chosen = []
    for rows in groups(len(held), size, _CACHE if tokens.device.type == "cpu" else _MEMORY):
        steps = max(totals[rows])
        picks = _pick(begin(rows, steps), order[rows], shut[rows].clone(), held[rows], steps, again)
        chosen.append(mask(picks, totals[rows], tokens.shape[1]))
    return torch.cat(chosen) & ~kept


def _pick(gains: Gains, listed: Tensor, shut: Tensor, held: list[int], steps: int, again: bool) -> Tensor:
    """[B, steps] picks: the first ``held`` of ``listed`` [B, N], then the largest gains where not ``shut`` [B, N]."""
    picks = [listed[:, :0]]
    few, most = min(held), max(held)
    if few < most:
        count = torch.tensor(held).to(listed.device, non_blocking=True)[:, None]  # [B, 1]
    for step in range(steps):
        pick = listed[:, step : step + 1]
        if step >= few:
            best = gains.now().masked_fill(shut, -inf).argmax(1, keepdim=True)
            pick = best if step >= most else torch.where(step < count, pick, best)
        picks.append(pick)
        if step < steps - 1:
            gains.add(pick)
            if not again:
                shut.scatter_(1, pick, True)
    return torch.cat(picks, 1)

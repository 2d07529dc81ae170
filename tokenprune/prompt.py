"""Columns of a padded prompt: which stay, and every per-token tensor cut alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Positions = Literal["keep", "renumber"]


@dataclass(frozen=True)
class Columns:
    """Where each column of the short prompt came from.

    Args:
        source: [B, S] int64, the column of the full prompt.
        filled: [B, S] bool, false where the short prompt is padding.
        stays: [B, L] bool, columns of the full prompt that are in the short one.
        identity: whether the short prompt is the full one. Equal length is not enough: the longest may have no image.
    """

    source: Tensor
    filled: Tensor
    stays: Tensor
    identity: bool = False

    @classmethod
    def of(cls, stays: Tensor, mask: Tensor) -> Columns:
        """Close the gaps of each row and pad again on the side on which it was padded.

        Args:
            stays: [B, L] bool, false where a token was dropped.
            mask: [B, L] bool, false where the prompt is padding.
        """
        if bool(stays.all()):  # nothing dropped: not even the padding moves
            source = torch.arange(stays.shape[1], device=stays.device).expand(stays.shape)
            return cls(source, mask, stays, identity=True)
        use = stays & mask
        length = int(use.sum(-1).max())
        if bool(mask[:, -1].all()):  # padded on the left
            source = use.byte().argsort(dim=-1, stable=True)[:, use.shape[1] - length :]
        else:
            source = use.byte().argsort(dim=-1, stable=True, descending=True)[:, :length]
        return cls(source, use.gather(1, source), use)

    def gather(self, value: Tensor, fill: float) -> Tensor:
        """[..., B, L] to [..., B, S]; padding gets ``fill``. A first axis of one is that of every row."""
        if self.identity:
            return value
        batch = self.source.shape[0]
        value = value.expand(*value.shape[:-2], batch, value.shape[-1])
        short = value.gather(-1, self.source.expand(*value.shape[:-2], -1, -1))
        return short.masked_fill(~self.filled, fill)

    def positions(self, value: Tensor, shift: Tensor) -> Tensor:
        """Position ids of the columns that stay.

        Args:
            value: [..., B or 1, L] int64, what the model would use for the full prompt.
            shift: [..., B, L] int64, by how much each gets smaller; see `shifts`.
        """
        return value if self.identity else self.gather(value - shift, 0)

    def scatter(self, logits: Tensor, wanted: Tensor, have: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Logits at columns of the full prompt, NaN where a column was dropped.

        Args:
            logits: [B, K, V] at the short columns ``have``.
            wanted: [B, W] int64, columns of the full prompt.
            have: [K] int64, ascending.
            dropped: [B, S] bool, short columns that were dropped later. None: none were.
        """
        at = self.at().gather(1, wanted)  # [B, W] short columns, -1 where dropped
        if dropped is not None:
            at = at.masked_fill(dropped.gather(1, at.clamp(min=0)), -1)
        nth = torch.searchsorted(have, at.clamp(min=0)).clamp(max=len(have) - 1)
        found = logits.gather(1, nth[..., None].expand(-1, -1, logits.shape[-1]))
        return found.masked_fill((at < 0)[..., None], float("nan"))

    def short(self, wanted: Tensor) -> Tensor:
        """[K] int64 ascending: the short columns that hold any of the full columns ``wanted`` [B, W]; at least one."""
        at = self.at().gather(1, wanted)
        found: Tensor = torch.unique(at[at >= 0])
        return found if len(found) else found.new_zeros(1)

    def at(self) -> Tensor:
        """[B, L] the short column of each full column, -1 where it was dropped or is padding."""
        at = torch.full(self.stays.shape, -1, dtype=torch.int64, device=self.source.device)
        column = torch.arange(self.source.shape[1], device=at.device).expand_as(self.source)
        return at.scatter(1, self.source, torch.where(self.filled, column, -1))


def shifts(positions: Tensor, dropped: Tensor, policy: Positions, text_row: bool) -> Tensor:
    """By how much position ids get smaller: nothing, or by the number of tokens dropped up to there.

    Args:
        positions: [B or 1, L], or [A, B or 1, L] where a model counts along several axes.
        dropped: [B, L] bool.
        policy: ``keep`` ids, or ``renumber`` them.
        text_row: whether the first axis only says where packed sequences begin; it never has gaps.

    Returns:
        [B, L] or [A, B, L] int64.
    """
    count = dropped.cumsum(-1)
    if positions.ndim == 2:
        return count * (policy == "renumber")
    counts = torch.zeros(positions.shape[0], *count.shape, dtype=count.dtype, device=count.device)
    if text_row:
        counts[0] = count
    return counts

"""What a cache remembers of the prompts it holds; it lives on the cache, so several conversations may interleave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import UnsupportedMode

_KEY = "_tokenprune_turn"


@dataclass(frozen=True)
class Turn:
    """The prompt columns a cache was made from.

    Args:
        stays: [B, L] bool, columns of the full prompt that are in the cache.
        mask: [B, S] int64, the attention mask of the short prompt.
        following: [..., B] int64, position id of the token after the prompt.
        shift: [..., B] int64, how much larger that id is when counted on the full prompt.
    """

    stays: Tensor
    mask: Tensor
    following: Tensor
    shift: Tensor

    @property
    def dropped(self) -> int:
        """How many columns the cache is shorter than the prompt."""
        return self.stays.shape[1] - self.mask.shape[1]

    def short_mask(self, mask: Tensor | None, cache: Any, new: int) -> Tensor:
        """[B, S + decoded + new]: a mask in full coordinates as the cache counts it.

        Args:
            mask: [B, L + decoded + new], or None when nothing after the prompt is padding.
            cache: the cache this turn lives on.
            new: columns that are about to be computed.

        Raises:
            UnsupportedMode: the mask is not one of the full prompt, or the batch is another one.
        """
        batch, length = self.stays.shape
        tail = int(cache.get_seq_length()) - self.mask.shape[1] + new
        if mask is None:
            return torch.cat([self.mask, self.mask.new_ones(batch, tail)], 1)
        if tuple(mask.shape) != (batch, length + tail):
            raise UnsupportedMode(
                f"the attention mask is {tuple(mask.shape)}; after a pruned prompt it covers the full prompt and "
                f"everything since: {(batch, length + tail)}"
            )
        return torch.cat([self.mask, mask[:, length:].to(self.mask.dtype)], 1)

    def positions(self, mask: Tensor, new: int) -> Tensor:
        """[..., B, new] position ids of the last columns of ``mask``, which is as `short_mask` gives it."""
        since = mask[:, self.mask.shape[1] :].cumsum(-1) - 1
        return (self.following[..., None] + since.clamp(min=0))[..., -new:]


def turn_of(cache: Any) -> Turn | None:
    """The turn a cache remembers, unless it was emptied since."""
    found: Turn | None = getattr(cache, _KEY, None)
    return found if found is not None and cache.get_seq_length() >= found.mask.shape[1] else None


def remember(cache: Any, turn: Turn) -> None:
    """Let a cache remember a turn."""
    setattr(cache, _KEY, turn)

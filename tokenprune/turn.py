"""What a cache remembers of the prompts it holds; it lives on the cache, so several conversations may interleave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import UnsupportedMode
from tokenprune.levels import keep_levels, levels_of
from tokenprune.reordered import follow, pick, unfollow

_KEY = "_tokenprune_turn"


@dataclass(frozen=True)
class Turn:
    """The prompt columns a cache was made from.

    Args:
        stays: [B, L] bool, columns of the full prompt that are in the cache.
        mask: [B, S] int64, the attention mask of the short prompt; a row has as many ones as columns that stay.
        following: [..., B] int64, position id of the token after the prompt.
        shift: [..., B] int64, how much larger that id is when counted on the full prompt.
        cross: which columns of the images are in the cache, where the model looks at them through cross-attention.
    """

    stays: Tensor
    mask: Tensor
    following: Tensor
    shift: Tensor
    cross: Any = None

    @property
    def dropped(self) -> int:
        """How many columns the cache is shorter than the prompt."""
        return self.stays.shape[1] - self.mask.shape[1]

    @property
    def complete(self) -> bool:
        """Whether the cache is what it would be had nothing been dropped. Reads back from the device."""
        return self.cross is None and torch.equal(self.stays, self.mask.bool()) and not bool(self.shift.any())

    def repeated(self, rows: int) -> Turn:
        """The turn of ``rows`` sequences, several of each prompt side by side.

        Raises:
            UnsupportedMode: that is not a multiple of the prompts.
        """
        batch = len(self.stays)
        if rows % batch:
            raise UnsupportedMode(f"the cache holds {batch} pruned prompts, this call goes on with {rows} sequences")
        if rows == batch:
            return self
        stays, mask = (part.repeat_interleave(rows // batch, 0) for part in (self.stays, self.mask))
        following, shift = (part.repeat_interleave(rows // batch, -1) for part in (self.following, self.shift))
        return Turn(stays, mask, following, shift, None if self.cross is None else self.cross.repeated(rows))

    def picked(self, rows: Any) -> Turn:
        """The turn of some of its sequences; see `tokenprune.reordered`."""
        stays, mask = (pick(part, rows) for part in (self.stays, self.mask))
        following, shift = (pick(part, rows, -1) for part in (self.following, self.shift))
        return Turn(stays, mask, following, shift, None if self.cross is None else self.cross.picked(rows))

    def short_ids(self, ids: Tensor, fill: int) -> Tensor:
        """[B, S + decoded] ids in the cache, from those of the full prompt and what followed; padding gets ``fill``.

        Args:
            ids: [B, L + decoded].
            fill: any id.
        """
        length = self.stays.shape[1]
        kept = ids[:, :length][self.stays]
        prompt = torch.full_like(self.mask, fill, dtype=ids.dtype).masked_scatter(self.mask.bool(), kept)
        return torch.cat([prompt, ids[:, length:]], 1)

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


def turn_of(cache: Any, rows: int) -> Turn | None:
    """The turn a cache remembers, for a call of ``rows`` sequences; None when nothing was dropped of what it holds.

    Raises:
        UnsupportedMode: it was cut since, to a place inside the pruned prompt.
    """
    found: Turn | None = getattr(cache, _KEY, None)
    if found is None:
        return None
    length, least = int(cache.get_seq_length()), found.mask.shape[1]
    if length >= least:
        return found.repeated(rows)
    before = found.cross is None and not levels_of(cache)
    if before and bool(found.stays[:, :length].all()):  # cut back to before the first column that was dropped
        return None
    raise UnsupportedMode(
        f"the cache was cut to {length} tokens, inside a pruned prompt of {least}; cut it to before the first image, "
        "or start with an empty cache"
    )


def remembers(cache: Any) -> bool:
    """Whether a cache, if it is one, remembers any."""
    return hasattr(cache, _KEY)


def remember(cache: Any, turn: Turn) -> None:
    """Let a cache remember a turn. One in which nothing was dropped is as good as forgotten."""
    if turn.complete and not levels_of(cache):
        forget(cache)
    else:
        setattr(cache, _KEY, turn)
        guard(cache)
        follow(cache)


@contextmanager
def remembering(cache: Any, turn: Turn) -> Iterator[None]:
    """Let a cache that the caller holds remember a turn, even if the block is left by an exception."""
    try:
        yield
    finally:
        if cache is not None and int(cache.get_seq_length()):
            remember(cache, turn)


def forget(cache: Any) -> None:
    """Let a cache remember nothing."""
    if cache is not None:
        keep_levels(cache, ())
    if remembers(cache):
        release(cache)
        delattr(cache, _KEY)
        unfollow(cache)


def guard(cache: Any) -> None:
    """Keep a cache that remembers a turn from models that are not attached: they would count its columns wrong."""
    if remembers(cache) and "update" not in vars(cache):
        cache.update = MethodType(_refuse, cache)  # a copy of the cache gets a copy of this


def release(cache: Any) -> None:
    """Let whoever has a cache use it."""
    if remembers(cache) and getattr(cache.update, "__func__", None) is _refuse:
        del cache.update


def _refuse(cache: Any, *args: Any, **kwargs: Any) -> Any:
    turn: Turn = getattr(cache, _KEY)
    if turn_of(cache, len(turn.stays)) is not None:
        what = f"{turn.dropped} of its columns" if turn.dropped else "some of its visual tokens"
        raise UnsupportedMode(
            f"this cache holds a prompt without {what}, and the model that goes on from it is "
            "not attached; attach it again, or start with an empty cache"
        )
    forget(cache)
    return cache.update(*args, **kwargs)

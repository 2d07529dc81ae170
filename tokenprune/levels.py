"""Columns that are left inside the language model, and every tensor its layers are given, cut to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import UnsupportedMode
from tokenprune.reordered import follow, pick, unfollow
from tokenprune.rows import Rows, on_device

_KEY = "_tokenprune_levels"


@dataclass(frozen=True)
class Level:
    """What layers from one stage on hold of the prompts in a cache.

    Columns are counted as the layers below the first stage hold them.

    Args:
        layer: the first of the layers.
        columns: [B, n] int64 ascending, the columns that are left; they come first in the cache of these layers.
        filled: [B, n] bool, false where that is padding.
        length: columns up to which that was decided; all later ones are there.
        shift: [B] int64, by how much position ids of later tokens get smaller.
        whole: whether no column of it is padding.
        renumbers: whether position ids close the gaps.
    """

    layer: int
    columns: Tensor
    filled: Tensor
    length: int
    shift: Tensor
    whole: bool
    renumbers: bool

    def repeated(self, rows: int) -> Level:
        """The level of ``rows`` sequences, several of each prompt side by side.

        Raises:
            UnsupportedMode: that is not a multiple of the prompts.
        """
        batch = len(self.columns)
        if rows == batch:
            return self
        if rows % batch:
            raise UnsupportedMode(f"the cache holds {batch} pruned prompts, this call goes on with {rows} sequences")
        columns, filled, shift = (
            part.repeat_interleave(rows // batch, 0) for part in (self.columns, self.filled, self.shift)
        )
        return replace(self, columns=columns, filled=filled, shift=shift)

    def picked(self, rows: Any) -> Level:
        """The level of some of its rows; see `tokenprune.reordered`."""
        columns, filled, shift = (pick(part, rows) for part in (self.columns, self.filled, self.shift))
        return replace(self, columns=columns, filled=filled, shift=shift)

    def to(self, device: torch.device) -> Level:
        """The same on the device of a layer."""
        return on_device(self, device)

    def after(self, before: Level | None, past: int) -> Level:
        """The same behind what is in the cache already: ``past`` columns, of which ``before`` says what is left."""
        if not past:
            return self
        batch, device = len(self.columns), self.columns.device
        start = 0 if before is None else before.length
        between = torch.arange(start, past, device=device).expand(batch, -1)
        columns, filled = [between, self.columns + past], [torch.ones_like(between, dtype=torch.bool), self.filled]
        if before is not None:
            columns, filled = [before.columns, *columns], [before.filled, *filled]
        shift = self.shift if before is None else self.shift + before.shift
        every = torch.cat(filled, 1)
        whole = self.whole and (before is None or before.whole)
        columns_ = torch.cat(columns, 1)
        return replace(self, columns=columns_, filled=every, length=past + self.length, shift=shift, whole=whole)

    def ids(self, rows: Rows | None, given: Tensor | None) -> Tensor:
        """[B, Q] position ids without gaps.

        Args:
            rows: the queries that are left; None: all of them are new.
            given: [b, Q] as the layers below the first stage have them.

        Raises:
            UnsupportedMode: there are none.
        """
        if given is None:
            raise UnsupportedMode("the layers of this model are given no position_ids; write positions: keep")
        if rows is None:
            return given - self.shift[:, None]
        tail = given.shape[-1] - rows.length
        moved = torch.cat([rows.moved.gather(1, rows.source), self.shift[:, None].expand(-1, tail)], 1)
        return rows.cut(given, -1) - moved

    def mask(self, given: Tensor | None, rows: Rows | None, layer: Any, states: Tensor, kind: str) -> Tensor | None:
        """The attention mask of these layers, from that of the layers that hold everything.

        Args:
            given: [B, 1, Q, K] bool or additive, or [B, K] where the kernel is told of padding alone, or None where
                every query looks back at all there is.
            rows: the queries that are left; None: all of them are new.
            layer: the cache of one of these layers; None: there is no cache.
            states: [B, Q', C] what the layer gets.
            kind: the attention implementation.
        """
        if given is None and self.whole:
            return None
        if given is not None and given.ndim == 2:
            return self._cut(given, fill=0).masked_fill(~self._there(given.shape[-1]), 0)
        if given is None and "flash" in kind:
            held = self.columns.shape[1] if rows is not None else _length(layer)
            count = states.shape[1] - (0 if rows is None else rows.source.shape[1])
            return self._there(self.length + held - self.columns.shape[1] + count).long()
        if given is None:
            given = self._causal(rows, layer, states, kind == "eager")
        elif rows is not None:
            given = rows.cut(given, -2, 0)
        none: Any = False if given.dtype == torch.bool else torch.finfo(given.dtype).min
        short = self._cut(given, none).masked_fill(~self._there(given.shape[-1])[:, None, None], none)
        room = layer.get_max_length() if layer is not None and getattr(layer, "is_compileable", False) else 0
        if room > short.shape[-1]:  # a static cache gives all of its room
            short = torch.nn.functional.pad(short, (0, room - short.shape[-1]), value=none)
        if short.dtype == torch.bool:  # a row of padding looks at everything rather than at nothing
            short = short | ~short.any(-1, keepdim=True)
        return short

    def _cut(self, given: Tensor, fill: Any) -> Tensor:
        """[..., K] to [..., n + what came later]."""
        index = self.columns.view(len(self.columns), *[1] * (given.ndim - 2), -1)
        front = _rows(given, len(self.columns)).take_along_dim(index, -1)
        return torch.cat([front, _rows(given, len(self.columns))[..., self.length :]], -1)

    def _there(self, length: int) -> Tensor:
        """[B, n + what came later] bool, for a mask of ``length`` columns."""
        return torch.cat([self.filled, self.filled.new_ones(len(self.filled), max(length - self.length, 0))], 1)

    def _causal(self, rows: Rows | None, layer: Any, states: Tensor, eager: bool) -> Tensor:
        """[B, 1, Q', K] over all columns: the mask that is implied where none is given."""
        count = states.shape[1]
        if rows is None:
            total = self.length + _length(layer) - self.columns.shape[1] + count
            query = torch.arange(total - count, total, device=states.device).expand(len(states), -1)
        else:
            tail = torch.arange(rows.length, rows.length + count - rows.source.shape[1], device=states.device)
            query = torch.cat([rows.source, tail.expand(len(states), -1)], 1) + self.length - rows.length
            total = self.length + len(tail)
        allowed = torch.arange(total, device=states.device) <= query[..., None]  # [B, Q', K]
        allowed = allowed[:, None]
        if not eager:
            return allowed
        return torch.zeros_like(allowed, dtype=states.dtype).masked_fill(~allowed, torch.finfo(states.dtype).min)


def held(cache: Any, layer: int) -> int:
    """Keys that a layer holds of what it has read; 0: none, or there is no cache."""
    if cache is None or layer >= len(cache.layers):
        return 0
    return _length(cache.layers[layer])


def _length(layer: Any) -> int:
    """Keys in the cache of a layer."""
    return 0 if layer is None or not layer.is_initialized else int(layer.get_seq_length())


def _rows(value: Tensor, batch: int) -> Tensor:
    """A first axis of one is that of every row."""
    return value if len(value) == batch else value.expand(batch, *value.shape[1:])


def levels_of(cache: Any) -> tuple[Level, ...]:
    """The levels a cache remembers, one a stage."""
    return getattr(cache, _KEY, ())


def keep_levels(cache: Any, levels: tuple[Level, ...]) -> None:
    """Let a cache remember levels; none of them where nothing was dropped."""
    if levels:
        setattr(cache, _KEY, levels)
        follow(cache)
    elif hasattr(cache, _KEY):
        delattr(cache, _KEY)
        unfollow(cache)

"""Columns of the prompt that is being read which reach a layer of the language model."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from tokenprune.prompt import Columns

T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """Which columns of the prompt that is being read reach a layer.

    Args:
        source: [B, m] int64, columns of the prompt.
        filled: [B, m] bool, false where that is padding.
        stays: [B, P] bool, columns of the prompt that are left.
        within: [B, m] int64, where they stand among those of the level before.
        before: how many columns the level before has.
        length: P, the columns of the prompt; what comes after them is not part of it and always stays.
        moved: [B, P] int64, by how much the position id of each column gets smaller.
    """

    source: Tensor
    filled: Tensor
    stays: Tensor
    within: Tensor
    before: int
    length: int
    moved: Tensor

    @classmethod
    def of(cls, stays: Tensor, real: Tensor, before: Rows | None, moved: Tensor) -> Rows:
        """Close the gaps of each row and pad again on the side on which it was padded.

        Args:
            stays: [B, P] bool.
            real: [B, P] bool, false where the prompt is padding.
            before: the level before. None: all columns.
            moved: as in the class.
        """
        columns = Columns.of(stays, real)
        source, length = columns.source, stays.shape[1]
        if before is None:
            return cls(source, columns.filled, stays, source, length, length, moved)
        within = before.at().gather(1, source).clamp(min=0)
        return cls(source, columns.filled, stays, within, before.source.shape[1], length, moved)

    def to(self, device: torch.device) -> Rows:
        """The same on the device of a layer."""
        return on_device(self, device)

    def there(self, count: int) -> Tensor:
        """[B, count] bool: which of the columns that are left, and of what follows, are no padding."""
        tail = self.filled.new_ones(len(self.filled), count - self.filled.shape[1])
        return torch.cat([self.filled, tail], 1)

    def at(self) -> Tensor:
        """[B, P] where each column of the prompt stands in the level, -1 where it was dropped or is padding."""
        at = torch.full(self.stays.shape, -1, dtype=torch.int64, device=self.source.device)
        place = torch.arange(self.source.shape[1], device=at.device).expand_as(self.source)
        return at.scatter(1, self.source, torch.where(self.filled, place, -1))

    def cut(self, value: Tensor, axis: int, batch: int | None = None) -> Tensor:
        """Cut an axis of columns of the prompt, and of what follows it, to those that are left.

        Args:
            value: any, with an axis of that length.
            axis: that axis, counted from the end.
            batch: the axis of prompts; one entry is that of every prompt. None: the axis before.
        """
        return _taken(value, self.source, axis, self.length, batch)

    def cut_states(self, states: Tensor) -> Tensor:
        """[B, m' + tail, C] of the level before to [B, m + tail, C]."""
        return _taken(states, self.within, -2, self.before, None)

    def restored(self, states: Tensor) -> Tensor:
        """[B, m + tail, C] to [B, P + tail, C]: a column that was dropped gets what the last one before it has.

        So the loss of the text after an image, and logits counted from the end, are those of what is left.
        """
        last = self.at().cummax(1).values.clamp(min=0)
        return torch.cat([states.take_along_dim(last[..., None], 1), states[:, self.source.shape[1] :]], 1)


def _taken(value: Tensor, source: Tensor, axis: int, length: int, batch: int | None) -> Tensor:
    """An axis whose first ``length`` entries are cut to ``source`` [B, m], row by row; what follows stays."""
    lead = value.ndim + axis - 1 if batch is None else batch
    value = value.expand(*value.shape[:lead], len(source), *value.shape[lead + 1 :])
    shape = [1] * value.ndim
    shape[lead], shape[axis] = source.shape
    rest = value.narrow(axis, length, value.shape[axis] - length)
    return torch.cat([value.take_along_dim(source.view(shape), axis), rest], axis)


def on_device(value: T, device: torch.device) -> T:
    """A dataclass with its tensors on a device."""
    assert is_dataclass(value)
    assert not isinstance(value, type)
    parts: dict[str, Any] = {one.name: getattr(value, one.name) for one in fields(value)}
    parts = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
    if all(part.device == device for part in parts.values()):
        return value
    return replace(value, **{name: part.to(device) for name, part in parts.items()})

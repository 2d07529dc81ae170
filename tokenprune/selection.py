"""What a stage decides: counts, masks, and what is folded into what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from tokenprune.ranks import grouped


@dataclass(frozen=True)
class Split:
    """How many tokens each row keeps; int64 [B] **on the host**, so that no loop has to ask the device.

    Args:
        important: tokens chosen by score.
        diverse: tokens chosen to differ from those.
        merged: carriers, slots that stay while their content is replaced. Default: none.
    """

    important: Tensor
    diverse: Tensor
    merged: Tensor = None  # type: ignore[assignment]  # filled in below

    def __post_init__(self) -> None:
        if self.merged is None:
            object.__setattr__(self, "merged", torch.zeros_like(self.important))

    @property
    def total(self) -> Tensor:
        """[B] tokens that stay in each row."""
        return self.important + self.diverse + self.merged

    def without_diverse(self) -> Split:
        """Diverse tokens are chosen by score instead."""
        return Split(self.important + self.diverse, self.diverse * 0, self.merged) if self.diverse.any() else self

    def without_merged(self, rows: Tensor | None = None) -> Split:
        """Carriers are diverse tokens instead, in ``rows`` [B] bool. None: in all."""
        if not self.merged.any():
            return self
        moved = self.merged if rows is None else self.merged * rows
        return Split(self.important, self.diverse + moved, self.merged - moved)


@dataclass(frozen=True)
class Merge:
    """What is folded into what: ``stream[target] = sum of weight * stream[source]``, for every stream alike.

    A new token rides on a dropped one: the slot and the position of a carrier stay, its content is replaced. Targets
    may be tokens that are kept anyway. An edge of weight zero does nothing.

    Args:
        carriers: [B, N] bool, tokens that nobody chose and whose slots stay.
        source: [E] int64, flattened tokens (b * N + n).
        target: [E] int64, flattened tokens; carriers or tokens that stay.
        weight: [E] float32.
    """

    carriers: Tensor
    source: Tensor
    target: Tensor
    weight: Tensor

    def at(self, places: Tensor) -> Merge:
        """The same merge where flattened token i is found at ``places[i]``; edges that touch a place of -1 go."""
        source, target = places[self.source], places[self.target]
        gone = (source < 0) | (target < 0)
        weight = self.weight.masked_fill(gone, 0)
        return Merge(self.carriers, source.clamp(min=0), target.clamp(min=0), weight)

    def apply(self, stream: Tensor, stay: Tensor | None = None) -> Tensor:
        """A stream [S, C] with the content of every target replaced; summed in float32, given back in its dtype.

        Args:
            stream: what is merged.
            stay: [S] bool, its rows that are given back. None: all.
        """
        if stream.device.type == self.source.device.type == "cpu":
            return self._summed(stream, stay)
        weight = self.weight.to(stream.device, torch.float32)
        new = _scattered(stream, self.source.to(stream.device), self.target.to(stream.device), weight)
        return new if stay is None else new[stay]

    @cached_property
    def _bags(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Targets as they ascend, where the edges of each begin, and sources and weights of edges that there are."""
        with torch.inference_mode(False):  # remembered: an inference tensor could not be differentiated through later
            if self.weight.all():
                target, order = grouped(self.target)
            else:
                real = self.weight.nonzero()[:, 0]
                target, order = grouped(self.target[real])
                order = real[order]
            places, counts = torch.unique_consecutive(target, return_counts=True)
            return places, counts.cumsum(0) - counts, self.source[order], self.weight[order].float()

    def _summed(self, stream: Tensor, stay: Tensor | None) -> Tensor:
        """On a CPU, where counting is free: only edges that there are, and only rows that stay."""
        places, first, source, weight = self._bags
        new = embedding_bag(source, stream.float(), first, mode="sum", per_sample_weights=weight).to(stream.dtype)
        if stay is None:
            return stream.index_copy(0, places, new)
        left = stay.nonzero()[:, 0]
        if torch.equal(left, places):  # everything that stays is new
            return new
        kept = stay[places]
        return stream[left].index_copy_(0, torch.searchsorted(left, places[kept]), new[kept])


def _scattered(stream: Tensor, source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """[S, C], all edges at once, those of weight zero too: nothing depends on how many there are."""
    edges = torch.where(weight[:, None] != 0, stream[source].float() * weight[:, None], 0)  # [E, C]; 0 * NaN too
    new = torch.zeros_like(stream, dtype=torch.float32).index_add(0, target, edges)
    touched = torch.zeros(len(stream), device=stream.device).index_add_(0, target, (weight != 0).float())
    return torch.where(touched[:, None] > 0, new.to(stream.dtype), stream)


@dataclass(frozen=True)
class Selection:
    """Which tokens stay, and why: three disjoint masks, [B, N] bool.

    Args:
        important: chosen by score.
        diverse: chosen to differ from those.
        merged: carriers. Default: those of ``merge``, or none.
        merge: what is folded into what. None: nothing.
    """

    important: Tensor
    diverse: Tensor
    merged: Tensor = None  # type: ignore[assignment]  # filled in below
    merge: Merge | None = None

    def __post_init__(self) -> None:
        if self.merged is None:
            carriers = torch.zeros_like(self.important) if self.merge is None else self.merge.carriers
            object.__setattr__(self, "merged", carriers)

    @property
    def mask(self) -> Tensor:
        """[B, N] bool, every token that stays."""
        return self.important | self.diverse | self.merged

    @property
    def counts(self) -> Tensor:
        """[B] int64, tokens that stay in each row."""
        return self.mask.sum(-1)

    def indices(self) -> list[Tensor]:
        """B ascending int64 tensors."""
        return [row.nonzero()[:, 0] for row in self.mask]

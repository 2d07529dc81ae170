"""The thumbnail of an image as a map: where it lies among the rows, and what it says at places of its crops."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens


def overview_of(tokens: VisualTokens) -> list[int]:
    """For each row the row that is its image's thumbnail; -1 where it has none, or no places, or is one itself."""
    found = [-1] * tokens.shape[0]
    if tokens.overview is None or tokens.place is None or tokens.canvas is None:
        return found
    group, overview = tokens.group.tolist(), tokens.overview.tolist()
    of = {one: row for row, one in enumerate(group) if overview[row]}
    return [-1 if overview[row] else of.get(one, -1) for row, one in enumerate(group)]


def maps(values: Tensor, tokens: VisualTokens) -> Tensor:
    """[B, N] values at tokens as [B, N] at the cells of each row's own map, in reading order; zero where none is."""
    assert tokens.place is not None
    assert tokens.canvas is not None
    size, (y, x) = values.shape[1], tokens.place.unbind(-1)
    height, width = tokens.canvas[:, :1], tokens.canvas[:, 1:]
    there = (y >= 0) & (y < height) & (x >= 0) & (x < width) & (y * width + x < size)
    cell = torch.where(there, y * width + x, size)
    flat = values.new_zeros(len(values), size + 1).scatter(1, cell, values)
    return flat[:, :size]


def at_places(flat: Tensor, tokens: VisualTokens, of: list[int]) -> Tensor:
    """[B, N] the maps [B, N] of each row's thumbnail, bilinear, at the places of the row's tokens."""
    assert tokens.place is not None
    assert tokens.canvas is not None
    row = torch.tensor(of).clamp(min=0).to(flat.device, non_blocking=True)
    size, ends = tokens.canvas[row], []
    for place, own, whole in zip(tokens.place.unbind(2), size.unbind(1), tokens.canvas.unbind(1), strict=True):
        exact = ((place.clamp(min=0) + 0.5) * (own / whole)[:, None] - 0.5).clamp(min=0)  # [B, N]
        last = (own - 1)[:, None]
        low = exact.long().minimum(last)
        ends.append((low, (low + 1).minimum(last), exact - low))
    (top, bottom, down), (left, right, across) = ends
    wide, seen, most = size[:, 1:], flat[row], flat.shape[1] - 1

    def line(first: Tensor) -> Tensor:
        one, other = (seen.gather(1, (first + at).clamp_(0, most)) for at in (left, right))
        return (1 - across) * one + across * other

    return (1 - down) * line(top * wide) + down * line(bottom * wide)

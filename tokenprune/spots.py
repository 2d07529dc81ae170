"""Where the tokens of one image stand: each in a cell of the rectangle of its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Spots:
    """The cells of n tokens, in the order in which an `ImageReceipt` counts them. All on the host.

    A crop that a model packs with others has a rectangle of its own here, padding and all, which is what its encoder
    saw; ``place`` and ``canvas`` of `VisualTokens` count in the map of all crops.

    Args:
        row: [n] int64, the crop or frame, counted from the first of the image.
        cell: [n, 2] int64 (y, x) in the rectangle of the row.
        grid: [rows, 2] int64 (h, w) of the rectangles.
        overview: [rows] bool, thumbnail rows.
        joined: [rows] bool, rows that are one map of several crops.
        patch: (height, width) of a patch of the encoder in pixels. None: not known.
    """

    row: Tensor
    cell: Tensor
    grid: Tensor
    overview: Tensor
    joined: Tensor
    patch: tuple[int, int] | None = None


def patch_of(config: Any) -> tuple[int, int] | None:
    """(height, width) of a patch of a model's vision encoder in pixels, where its config says so."""
    side = getattr(getattr(config, "vision_config", None), "patch_size", None)
    if isinstance(side, int):
        return side, side
    return (int(side[0]), int(side[1])) if isinstance(side, list | tuple) and len(side) == 2 else None


def spots_of(tokens: VisualTokens, rows: Tensor, patch: tuple[int, int] | None = None) -> Spots | None:
    """The spots of an image's valid tokens; None where they have no place (resamplers).

    Args:
        tokens: all rows.
        rows: [B] bool on the host, those of the image.
        patch: as in `Spots`.
    """
    if tokens.place is None or tokens.canvas is None:
        return None
    here = rows.to(tokens.device)
    place, grid = tokens.place[here].cpu().long(), tokens.canvas[here].cpu().long().clone()
    valid = torch.ones(place.shape[:2], dtype=torch.bool) if tokens.valid is None else tokens.valid[here].cpu()
    overview = torch.zeros(len(grid), dtype=torch.bool) if tokens.overview is None else tokens.overview[rows].cpu()
    joined = torch.zeros_like(overview)
    if overview.any():
        _unpack(place, grid, valid, overview, joined)
    return Spots(valid.nonzero()[:, 0], place[valid], grid, overview, joined, patch)


def _unpack(place: Tensor, grid: Tensor, valid: Tensor, overview: Tensor, joined: Tensor) -> None:
    """Count in the rectangles of the crops instead of the map that they are packed into, in place.

    Token n of a packed crop is cell n of a square as large as the overview's; its place is that cell, moved.
    """
    side = int(grid[overview][0].amax())
    number = torch.arange(place.shape[1])
    raster = torch.stack([number // side, number % side], -1)  # [N, 2]
    square = bool((grid[overview] == side).all())
    for row in (~overview).nonzero()[:, 0].tolist():
        by = (place[row] - raster)[valid[row]]
        moved = bool((by == by[:1]).all())
        beyond = len(by) and bool(by[0].any() or (grid[row] > side).any())
        if square and moved and beyond and bool((raster[valid[row]] < side).all()):
            place[row], grid[row] = raster, side
        elif square and int(grid[row].prod()) > side**2 and len(place) == 2:
            joined[row] = True

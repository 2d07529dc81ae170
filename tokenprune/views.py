"""Which numbers of a processor's output are the pixels of which row of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tokenprune.rulers import Array
from tokenprune.spots import Spots


class Where(Exception):
    """Why it cannot be said where tokens lie on an image."""


@dataclass(frozen=True)
class View:
    """The pixels of one row: a tile [C, h, w], or patches [P, ...] in any order.

    Args:
        name: of the tensor.
        part: which part of it.
        patches: how many patches a side are one token; 0: it is a tile.
    """

    name: str
    part: tuple[slice | int, ...]
    patches: int = 0

    def along(self, read: dict[str, Array], axis: int) -> Array:
        """[columns or lines] of a tile or [P] of patches: the mean of what was read there; NaN where that is padding.

        Args:
            read: by name, as `Rulers.read` gives it.
            axis: 0: columns, 1: lines.
        """
        values = read[self.name][self.part]
        if self.patches:
            flat = values.reshape(len(values), -1)
            return np.asarray(flat[~np.isnan(flat).any(1)].mean(1))
        lines = values.mean(0).swapaxes(0, 1) if axis == 0 else values.mean(0)  # [columns or lines, the others]
        there = ~np.isnan(lines)
        total = np.where(there, lines, 0).sum(1)
        return np.where(there.any(1), total / np.maximum(there.sum(1), 1), np.nan)

    def columns(self, axis: int, cells: int, depth: dict[str, Array], patch: tuple[int, int] | None) -> int:
        """How many columns (``axis`` 0) or lines (1) ``cells`` of its tokens take; the rest of a tile is not seen.

        Raises:
            Where: a tile cannot be divided among them.
        """
        if self.patches:
            return cells * self.patches
        pixels = int(depth[self.name][self.part].shape[2 - axis])
        side = patch[1 - axis] if patch else 1
        cell = pixels // (side * cells) * side
        if not cell or (patch is None and cell * cells != pixels):
            raise Where(f"{cells} tokens do not divide {pixels} pixels")
        return cells * cell


def views_of(depth: dict[str, Array], spots: Spots) -> list[View]:
    """The view of each row.

    Args:
        depth: the processor's tensors that hold pixels; NaN where that is padding.
        spots: of the image's tokens.

    Raises:
        Where: they are laid out in a way that is not known here.
    """
    overview, counts = spots.overview.tolist(), spots.grid.prod(-1).tolist()
    if len(depth) == 2:
        return _two_names(depth, overview)
    if len(depth) != 1:
        raise Where(f"its processor gives {len(depth)} tensors of pixels")
    ((name, values),) = depth.items()
    outer: tuple[int, ...] = (0,) if values.ndim == 5 and len(values) == 1 else ()
    values = values[outer]
    there = [at for at, part in enumerate(values) if not np.isnan(part).all()]
    if bool(spots.joined.any()) and values.ndim == 4:
        return [View(name, (*outer, there[0]))] * len(counts)  # of the joined row none is asked for
    if len(there) == len(counts) and values.ndim == 4:
        return [View(name, (*outer, at)) for at in there]
    if len(there) == len(counts) and values.ndim == 3:
        return [View(name, (*outer, at), _side(_real(values[at]), counts[row])) for row, at in enumerate(there)]
    side = _side(len(there), sum(counts))
    return [View(name, (*outer, slice(a, b)), side) for a, b in pairwise(np.cumsum([0, *counts]) * side**2)]


def _two_names(depth: dict[str, Array], overview: list[bool]) -> list[View]:
    """Whole images under one name, their crops under another, all of them tiles.

    Raises:
        Where: they are not as many as there are rows.
    """
    crops = next((name for name in depth if "local" in name), "")
    (whole,) = depth.keys() - {crops} if crops else ("",)
    sizes = [(depth[name].ndim, len(depth[name])) for name in (whole, crops) if name]
    if sizes != [(4, sum(overview)), (4, len(overview) - sum(overview))]:
        raise Where("its processor gives two tensors of pixels, and not one of whole images and one of crops")
    before = [overview[:row].count(flag) for row, flag in enumerate(overview)]
    return [View(whole if flag else crops, (at,)) for flag, at in zip(overview, before, strict=True)]


def _real(patches: Array) -> int:
    """How many of patches [P, E] are not padding."""
    return int((~np.isnan(patches).all(1)).sum())


def _side(patches: int, tokens: int) -> int:
    """Patches along a side of a token.

    Raises:
        Where: tokens are no squares of patches.
    """
    side = round((patches / tokens) ** 0.5) if tokens else 0
    if not side or side**2 * tokens != patches:
        raise Where(f"its processor gives {patches} patches, and {tokens} tokens are no squares of them")
    return side

"""From the tokens of an image to the pixels of it that they saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenprune.rulers import Array, Process, Rulers, half_wave, line, refined, snapped
from tokenprune.spots import Box, Spots
from tokenprune.views import View, Where, views_of


@dataclass(frozen=True)
class Placement:
    """Where the rectangles of an image's rows lie on it.

    Args:
        boxes: of each row (left, top, right, bottom) in pixels of the image; it reaches beyond the image where that was
            padded. None: not known.
        overview: of each row whether it shows once more what others show.
        note: what a caption has to say about it; empty where every box is exact.
    """

    boxes: tuple[Box | None, ...]
    overview: tuple[bool, ...]
    note: str = ""


def placed(process: Process, size: tuple[int, int], spots: Spots | None) -> Placement:
    """Where the rows of an image lie on it.

    Args:
        process: makes the model's inputs of an image alone.
        size: (width, height) of the image.
        spots: of its tokens. None: they have no place.
    """
    if spots is None:
        return Placement((None,), (False,), "not drawn: its tokens have no place, each looks at the whole image")
    rulers, joined = Rulers.of(process, size), spots.joined.tolist()
    try:
        views = views_of(rulers.depth, spots)
        boxes: list[Box] = [
            (0.0, 0.0, float(size[0]), float(size[1])) if whole else _box(rulers, view, grid, spots.patch)
            for view, grid, whole in zip(views, spots.grid.tolist(), joined, strict=True)
        ]
    except Where as reason:
        rows = len(spots.grid)
        return Placement((None,) * rows, (False,) * rows, f"not drawn on the picture: {reason}")
    note = "crops joined to one map: its cells are drawn as an even division of the picture" if any(joined) else ""
    return Placement(tuple(boxes), _again(boxes, spots.overview.tolist()), note)


def _box(rulers: Rulers, view: View, grid: list[int], patch: tuple[int, int] | None) -> Box:
    """What the cells of one row cover."""
    sides = []
    for axis, cells in enumerate(reversed(grid)):
        columns = view.columns(axis, cells, rulers.depth, patch)
        start, step = _fit(rulers, view, axis, columns)
        sides.append((start, start + columns * step))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def _fit(rulers: Rulers, view: View, axis: int, columns: int) -> tuple[float, float]:
    """Where column 0 of a row begins on the image, and how wide each is.

    Raises:
        Where: they do not lie on it in even steps.
    """
    length = rulers.size[axis]
    coarse = view.along(rulers.read(axis), axis)
    number = _numbers(coarse, columns) if view.patches else np.arange(len(coarse), dtype=np.float64)
    if columns == 1:
        return 0.0, float(length)
    found = line(coarse, number, length)
    bend = np.abs(found[0] + found[1] * number - coarse)
    if not found[1] > 0 or not np.nanmax(bend) < 2 * length / 255 + 1.5 * abs(found[1]):
        raise Where("its processor does more than resize, crop, pad and cut")
    half = half_wave(found[1], length)
    if half is not None:
        found = refined(found, number, view.along(rulers.read(axis, half), axis), half)
    return snapped(found[0] - found[1] / 2, found[1], length, columns)


def _numbers(coarse: Array, columns: int) -> NDArray[np.float64]:
    """The column of each patch, whatever their order: they lie in even steps."""
    low, high = np.nanmin(coarse), np.nanmax(coarse)
    return np.rint((coarse - low) / max(high - low, 1e-9) * (columns - 1))


def _again(boxes: list[Box], overview: list[bool]) -> tuple[bool, ...]:
    """Which rows show what the others show together: those said to be overviews, or one that covers all the others."""
    if any(overview) or len(boxes) == 1:
        return tuple(overview)

    def covers(one: Box, other: Box) -> bool:
        slack = 0.02 * max(one[2] - one[0], one[3] - one[1])
        low, high = (
            (a <= b + slack for a, b in zip(one[:2], other[:2], strict=True)),
            zip(one[2:], other[2:], strict=True),
        )
        return all(low) and all(a >= b - slack for a, b in high)

    largest = [all(covers(one, other) for other in boxes) for one in boxes]
    return tuple(flag and not all(largest) for flag in largest)

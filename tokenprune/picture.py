"""Pictures of a selection: what stayed in colour, what was dropped dimmed, and why it stayed as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tokenprune.painting import COLOURS, GAP, PAPER, Layer, Why, Words, captioned, painted
from tokenprune.spots import Box

_NAMES = {Why.IMPORTANT: "important", Why.DIVERSE: "diverse", Why.MERGED: "merged"}


def clip_box(size: tuple[int, int], crop: int = 336, edge: int | None = None) -> Box:
    """The part of an image that CLIP's preprocessing leaves: resize the shortest edge, then crop the middle.

    Args:
        size: (width, height) of the image.
        crop: side of the crop, in pixels of the resized image.
        edge: what the shortest edge is resized to. None: ``crop``.

    Returns:
        (left, top, right, bottom) in pixels of the image. It reaches beyond the image where the crop was padded.
    """
    edge = crop if edge is None else edge
    resized = [int(edge * side / min(size)) for side in size]
    starts = [(side - crop) // 2 for side in resized]
    left, top = (start * side / small for start, side, small in zip(starts, size, resized, strict=True))
    right, bottom = ((a + crop) * side / small for a, side, small in zip(starts, size, resized, strict=True))
    return left, top, right, bottom


def overlay(
    image: Image.Image,
    kept: Any,
    *,
    important: Any = None,
    title: str = "",
    box: Box | None = None,
    scale: float = 1.0,
) -> Image.Image:
    """One image with its selection, and a caption that counts it.

    Args:
        image: the image as it was before any preprocessing.
        kept: [h, w] bool, the tokens that stay, on their grid.
        important: [h, w] bool, those of them that stay for their score; the rest of them are diverse. None: not told.
        title: what the caption begins with.
        box: (left, top, right, bottom), the part of the image that the grid covers. None: all of it.
        scale: how much the image is enlarged first.

    Raises:
        ValueError: the two grids do not fit each other.
    """
    why = _grids(kept, important)
    layer = Layer(why, box or (0, 0, *image.size))
    return captioned(laid_over(image, [layer], scale), counted(why, title))


def laid_over(image: Image.Image, layers: Sequence[Layer], scale: float = 1.0, heat: bool = False) -> Image.Image:
    """One image with the tokens of its rows on it, each where it lies.

    Args:
        image: the image as it was before any preprocessing.
        layers: one for each row that is to be seen.
        scale: how much the image is enlarged first.
        heat: colour every token by its score, instead of showing which stay.
    """
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))  # [y, x, 3]
    return Image.fromarray(painted(pixels, layers, scale, heat))


def counted(why: NDArray[np.int64], title: str = "") -> list[Words]:
    """Lines of a caption: the title and the count of what stays, then how much stays for which reason, if that is told.

    Args:
        why: a `Why` for each token.
        title: what the caption begins with.
    """
    kept, all_of_them = int((why > Why.DROPPED).sum()), int((why > Why.ABSENT).sum())
    lines: list[Words] = [[(f"{title}  {kept}/{all_of_them}".strip(), None)]]
    if kept and not (why == Why.KEPT).any():
        counts = {reason: int((why == reason).sum()) for reason in _NAMES}
        told = [reason for reason, count in counts.items() if count or reason != Why.MERGED]
        lines.append([(f"{counts[reason]} {_NAMES[reason]}", COLOURS[reason]) for reason in told])
    return lines


def sheet(panels: Sequence[Image.Image], columns: int) -> Image.Image:
    """Several pictures side by side, row by row.

    Raises:
        ValueError: there is no picture, or no column.
    """
    if not panels or columns < 1:
        raise ValueError(f"a sheet needs at least one picture and one column; got {len(panels)} and {columns}")
    columns = min(columns, len(panels))
    widths = [max(panel.width for panel in panels[start::columns]) for start in range(columns)]
    lines = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [max(panel.height for panel in line) for line in lines]
    page = Image.new("RGB", (sum(widths) + GAP * (columns + 1), sum(heights) + GAP * (len(lines) + 1)), PAPER)
    for row, line in enumerate(lines):
        for column, panel in enumerate(line):
            page.paste(panel, (sum(widths[:column]) + GAP * (column + 1), sum(heights[:row]) + GAP * (row + 1)))
    return page


def _grids(kept: Any, important: Any) -> NDArray[np.int64]:
    """[h, w] a `Why` for each token."""
    kept = np.asarray(kept, dtype=bool)
    if kept.ndim != 2:
        raise ValueError(f"kept is a grid [h, w]; got {kept.shape}. Reshape it: kept.reshape(24, 24)")
    if important is None:
        return np.where(kept, Why.KEPT, Why.DROPPED)
    important = np.asarray(important, dtype=bool)
    if important.shape != kept.shape:
        raise ValueError(f"important is {important.shape}; with kept {kept.shape} it must be the same")
    if (important & ~kept).any():
        raise ValueError(f"{(important & ~kept).sum()} important tokens are not among the kept ones")
    return np.where(important, Why.IMPORTANT, np.where(kept, Why.DIVERSE, Why.DROPPED))

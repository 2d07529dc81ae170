"""Pictures of a selection: what stayed in colour, what was dropped dimmed, and why it stayed as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]
IMPORTANT: Colour = (230, 159, 0)  # orange and sky blue: told apart by the colour-blind too (Okabe and Ito)
DIVERSE: Colour = (86, 180, 233)
KEPT: Colour = (255, 255, 255)  # where nothing is known of why
INK: Colour = (30, 30, 30)
PAPER: Colour = (255, 255, 255)
GAP = 8
DROPPED, UNSEEN = 0.45, 0.15  # brightness that is left
_TIE = 1e-9  # a middle on a border lies in the later cell, whatever the rounding


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
    kept, important = _grids(kept, important)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))  # [y, x, 3]
    left, top, right, bottom = (scale * side for side in box or (0, 0, *image.size))
    rows = _Axis.of(pixels.shape[0], top, bottom, kept.shape[0])
    columns = _Axis.of(pixels.shape[1], left, right, kept.shape[1])
    painted = _paint(pixels, kept, rows, columns)
    _frame(painted, kept, rows, columns, KEPT if important is None else IMPORTANT)
    if important is not None:  # over the first
        _frame(painted, kept & ~important, rows, columns, DIVERSE)
    return _captioned(Image.fromarray(painted), title, kept, important)


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


@dataclass(frozen=True)
class _Axis:
    """Pixels along one side, and the cells they lie in.

    Args:
        cell: [P] the cell of each pixel; 0 where there is none.
        seen: [P] bool, whether there is one.
        edge: [P] bool, whether the pixel lies at the edge of its cell.
    """

    cell: NDArray[np.int64]
    seen: NDArray[np.bool_]
    edge: NDArray[np.bool_]

    @classmethod
    def of(cls, length: int, start: float, stop: float, count: int) -> _Axis:
        """``length`` pixels, of which those from ``start`` to ``stop`` hold ``count`` cells."""
        step = (stop - start) / count
        at = (np.arange(length) + 0.5 - start) / step + _TIE  # middles of pixels, in cells
        cell = np.floor(at).astype(np.int64)
        frame = max(1.0, step / 14)  # a pixel for every 14, the side of CLIP's patches
        inside = (at - cell) * step  # pixels from the cell's own start
        edge = (inside < frame) | (step - inside < frame)
        seen = (cell >= 0) & (cell < count)
        return cls(np.where(seen, cell, 0), seen, edge)


def _grids(kept: Any, important: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    kept = np.asarray(kept, dtype=bool)
    if kept.ndim != 2:
        raise ValueError(f"kept is a grid [h, w]; got {kept.shape}. Reshape it: kept.reshape(24, 24)")
    if important is None:
        return kept, None
    important = np.asarray(important, dtype=bool)
    if important.shape != kept.shape:
        raise ValueError(f"important is {important.shape}; with kept {kept.shape} it must be the same")
    if (important & ~kept).any():
        raise ValueError(f"{(important & ~kept).sum()} important tokens are not among the kept ones")
    return kept, important


def _paint(pixels: NDArray[np.uint8], kept: NDArray[np.bool_], rows: _Axis, columns: _Axis) -> NDArray[np.uint8]:
    """Kept cells as they are, all else grey and darker."""
    grey = pixels @ np.array([0.299, 0.587, 0.114])  # [y, x], as eyes weigh the colours
    seen = rows.seen[:, None] & columns.seen
    dim = (grey * np.where(seen, DROPPED, UNSEEN))[..., None]  # [y, x, 1]
    stays = (kept[np.ix_(rows.cell, columns.cell)] & seen)[..., None]
    return np.where(stays, pixels, np.rint(dim)).astype(np.uint8)


def _frame(painted: NDArray[np.uint8], which: NDArray[np.bool_], rows: _Axis, columns: _Axis, colour: Colour) -> None:
    """Colour the edge pixels of some cells, in place."""
    seen = rows.seen[:, None] & columns.seen
    edge = rows.edge[:, None] | columns.edge
    painted[which[np.ix_(rows.cell, columns.cell)] & seen & edge] = colour


def _captioned(
    picture: Image.Image, title: str, kept: NDArray[np.bool_], important: NDArray[np.bool_] | None
) -> Image.Image:
    """A strip below, as wide as its words need: the title and the count, then how many stay for which reason."""
    lines: list[list[tuple[str, Colour | None]]] = [[(f"{title}  {kept.sum()}/{kept.size}".strip(), None)]]
    if important is not None:
        why = [(f"{important.sum()} important", IMPORTANT), (f"{(kept & ~important).sum()} diverse", DIVERSE)]
        lines.append([*why])
    font = ImageFont.load_default(max(10, min(22, picture.width // 20)))
    height = round(1.5 * font.getbbox("Ag")[3])
    strips = [_line(words, font, height) for words in lines]
    width = max(picture.width, *(strip.width for strip in strips))
    page = Image.new("RGB", (width, picture.height + height * len(strips) + GAP // 2), PAPER)
    page.paste(picture)
    for row, strip in enumerate(strips):
        page.paste(strip, (0, picture.height + GAP // 2 + row * height))
    return page


def _line(words: list[tuple[str, Colour | None]], font: Any, height: int) -> Image.Image:
    """Words side by side, each behind a square of its colour if it has one."""
    side = height // 2
    room = sum(GAP + (side + GAP) * (colour is not None) + round(font.getlength(word)) for word, colour in words)
    strip = Image.new("RGB", (room + GAP, height), PAPER)
    draw, at = ImageDraw.Draw(strip), GAP
    for word, colour in words:
        if colour is not None:
            draw.rectangle((at, side // 4, at + side, side // 4 + side), fill=colour, outline=INK)
            at += side + GAP
        draw.text((at, 0), word, fill=INK, font=font)
        at += round(font.getlength(word)) + GAP
    return strip

"""Pixels: cells of tokens on an image, their frames, the heat of their scores, and captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tokenprune.spots import Box

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]
Words = list[tuple[str, Colour | None]]


class Why(IntEnum):
    """What became of a token."""

    ABSENT = -1  # no token: padding that the model takes out again
    DROPPED = 0
    KEPT = 1  # nothing is known of why
    IMPORTANT = 2
    DIVERSE = 3
    MERGED = 4  # its slot stays, its content is what was folded into it


COLOURS: dict[Why, Colour] = {  # told apart by the colour-blind too (Okabe and Ito)
    Why.KEPT: (255, 255, 255),
    Why.IMPORTANT: (230, 159, 0),
    Why.DIVERSE: (86, 180, 233),
    Why.MERGED: (204, 121, 167),
}
HEAT: tuple[Colour, ...] = ((18, 14, 54), (85, 25, 109), (165, 44, 96), (227, 89, 51), (249, 172, 22), (252, 250, 190))
INK: Colour = (30, 30, 30)
PAPER: Colour = (255, 255, 255)
GAP = 8
DROPPED, UNSEEN = 0.45, 0.15  # brightness that is left
_TIE = 1e-9  # a middle on a border lies in the later cell, whatever the rounding


@dataclass(frozen=True)
class Layer:
    """The tokens of one row on their grid, and the part of the image that the grid covers.

    Args:
        why: [h, w] int, each a `Why`.
        box: (left, top, right, bottom) in pixels of the image.
        heat: [h, w] float64, 0 to 1, how high each token's score ranks. NaN: it has none. None: none has.
    """

    why: NDArray[np.int64]
    box: Box
    heat: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class _Axis:
    """Pixels along one side, and the cells they lie in.

    Args:
        span: the pixels that lie in any.
        cell: [P] the cell of each of those.
        edge: [P] bool, whether the pixel lies at the edge of its cell.
    """

    span: slice
    cell: NDArray[np.int64]
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
        seen = np.flatnonzero((cell >= 0) & (cell < count))
        span = slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 0)
        return cls(span, cell[span], edge[span])


def painted(pixels: Pixels, layers: Sequence[Layer], scale: float = 1.0, heat: bool = False) -> Pixels:
    """Kept cells as they are in a frame of their colour, all else grey and darker; or the heat of their scores.

    Args:
        pixels: [y, x, 3].
        layers: where they overlap, the last is on top.
        scale: what the boxes are multiplied by.
        heat: colour every cell by its score instead.
    """
    grey = pixels @ np.array([0.299, 0.587, 0.114])  # [y, x], as eyes weigh the colours
    out = np.repeat(np.rint(grey * UNSEEN).astype(np.uint8)[..., None], 3, -1)
    for layer in layers:
        left, top, right, bottom = (scale * side for side in layer.box)
        rows = _Axis.of(pixels.shape[0], top, bottom, layer.why.shape[0])
        columns = _Axis.of(pixels.shape[1], left, right, layer.why.shape[1])
        here, cells = (rows.span, columns.span), np.ix_(rows.cell, columns.cell)
        why = layer.why[cells]
        if heat:
            new = _warm(grey[here], np.full(why.shape, np.nan) if layer.heat is None else layer.heat[cells])
        else:
            dim = np.rint(grey[here] * DROPPED)[..., None]
            new = np.where((why > Why.DROPPED)[..., None], pixels[here], dim)
            edge = rows.edge[:, None] | columns.edge
            for reason, colour in COLOURS.items():
                new[(why == reason) & edge] = colour
        out[here] = np.where((why > Why.ABSENT)[..., None], new, out[here])
    return out


def _warm(grey: NDArray[np.float64], rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """[y, x, 3] colours from the coldest to the hottest, with a little of the picture in them."""
    at = np.nan_to_num(rank) * (len(HEAT) - 1)
    stops = np.array(HEAT, dtype=np.float64)
    low = np.minimum(at.astype(np.int64), len(HEAT) - 2)
    share = (at - low)[..., None]
    colour = stops[low] * (1 - share) + stops[low + 1] * share
    warm = np.rint(0.7 * colour + 0.3 * grey[..., None])
    return np.where(np.isnan(rank)[..., None], np.rint(grey * DROPPED)[..., None], warm)


def captioned(picture: Image.Image, lines: Sequence[Words], note: str = "") -> Image.Image:
    """A strip below, as wide as the lines need: words side by side, then a note, broken where it is too long."""
    font = ImageFont.load_default(max(10, min(22, picture.width // 20)))
    height = round(1.5 * font.getbbox("Ag")[3])
    strips = [_line(words, font, height) for words in lines]
    width = max([picture.width, *(strip.width for strip in strips)])
    strips += [_line([(part, None)], font, height) for part in _broken(note, font, width - 2 * GAP)]
    page = Image.new("RGB", (width, picture.height + height * len(strips) + GAP // 2), PAPER)
    page.paste(picture)
    for row, strip in enumerate(strips):
        page.paste(strip, (0, picture.height + GAP // 2 + row * height))
    return page


def _broken(text: str, font: Any, width: int) -> list[str]:
    """A text in lines that fit, broken between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _line(words: Words, font: Any, height: int) -> Image.Image:
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

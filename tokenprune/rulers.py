"""Which part of an image a model's processor shows to its encoder, read off the processor itself.

In place of the image the processor is given rulers of the same size: all black, all white, and two that grow brighter
from left to right and from top to bottom. Black and white say what a number of its output means, whatever the
normalisation and the order of channels, and which of them are padding; the other two say from where in the image each
comes. So resizing, cropping, padding and cutting into tiles need no rule of their own here, and no model family does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]
Process = Callable[[Image.Image], Mapping[str, Any]]
WHITE = 255
_STEPS = 12  # columns or patches to half a wave of the fine rulers
_CLEAR = 0.25  # share of half a wave at either end that resizing has rounded off, three columns of it
_CLOSE, _EVEN = 0.05, 0.2  # columns; closer to a whole number than this, or to whole tiles, is meant to be that


@dataclass(frozen=True)
class Rulers:
    """What a processor makes of images of one size.

    Args:
        process: the processor; gives tensors by name.
        size: (width, height) of the image.
        zero: what it makes of black, by name, for those tensors that depend on pixels.
        depth: how far white is from that. NaN: padding.
    """

    process: Process
    size: tuple[int, int]
    zero: dict[str, Array]
    depth: dict[str, Array]
    _memo: dict[tuple[int, float | None], dict[str, Array]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, process: Process, size: tuple[int, int]) -> Rulers:
        """Look at black and at white."""
        zero, one = (_tensors(process(Image.new("RGB", size, (level,) * 3))) for level in (0, WHITE))
        depth = {name: one[name] - zero[name] for name in zero if one[name].shape == zero[name].shape}
        depth = {name: far for name, far in depth.items() if far.any()}
        least = {name: np.abs(far).max() / 4 for name, far in depth.items()}
        clear = {name: np.where(np.abs(far) > least[name], far, np.nan) for name, far in depth.items()}
        return cls(process, size, zero, clear)

    def read(self, axis: int, half: float | None = None) -> dict[str, Array]:
        """For every number of the output, how far from the left (``axis`` 0) or the top (1) of the image it comes.

        Args:
            axis: 0 or 1.
            half: pixels in which a ruler grows from black to white, to fall back in the next as many; the answer is
                then the share of that, 0 to 1. None: it grows all along the image; the answer is in pixels.
        """
        if (axis, half) not in self._memo:
            self._memo[axis, half] = self._read(axis, half)
        return self._memo[axis, half]

    def _read(self, axis: int, half: float | None) -> dict[str, Array]:
        length = self.size[axis]
        at = np.arange(length) + 0.5
        level = at / length if half is None else 1 - np.abs((at / half) % 2 - 1)
        line = np.rint(level * WHITE).astype(np.uint8)
        pixels = np.broadcast_to(line if axis == 0 else line[:, None], self.size[::-1])
        made = _tensors(self.process(Image.fromarray(np.ascontiguousarray(np.stack([pixels] * 3, -1)))))
        scale = length if half is None else 1
        return {name: scale * (made[name] - self.zero[name]) / far for name, far in self.depth.items()}


def _tensors(made: Mapping[str, Any]) -> dict[str, Array]:
    """The tensors of numbers; those that hold no pixels do not change with them."""
    found = {name: np.asarray(value) for name, value in made.items() if getattr(value, "ndim", 0) > 1}
    return {name: value.astype(np.float64) for name, value in found.items() if value.dtype.kind in "fiu"}


def line(coarse: Array, number: Array, length: int | None = None) -> tuple[float, float]:
    """(start, step) of the line ``coarse = start + step * number``, least squares; NaN where there is no line.

    Args:
        coarse: [n] where columns, lines or patches come from; NaN: not known.
        number: [n] which each is.
        length: of the image; what is so close to its border that resizing has drawn it inwards is left out if it can.
    """
    known = ~np.isnan(coarse)
    if len(np.unique(number[known])) < 2:
        return float("nan"), float("nan")
    step, start = np.polyfit(number[known], coarse[known], 1)
    if length is None:
        return float(start), float(step)
    inner = np.minimum(coarse, length - coarse) > 3 * max(abs(step), 1)
    enough = len(np.unique(number[known & inner])) >= _STEPS / 2
    return line(np.where(inner, coarse, np.nan), number) if enough else (float(start), float(step))


def refined(coarse: tuple[float, float], number: Array, fine: Array, half: float) -> tuple[float, float]:
    """The same line from a wave, whose brightness changes faster; the coarse line says in which half wave one is.

    Args:
        coarse: (start, step).
        number: [n] of the columns, lines or patches.
        fine: [n] share of half a wave.
        half: pixels of half a wave.
    """
    waves, share = np.divmod((coarse[0] + coarse[1] * number) / half, 1)
    clear = (share > _CLEAR) & (share < 1 - _CLEAR) & ~np.isnan(fine)
    exact = half * (waves + np.where(waves % 2 == 0, fine, 1 - fine))
    found = line(exact[clear], number[clear]) if len(np.unique(number[clear])) >= _STEPS / 3 else (float("nan"),) * 2
    return coarse if np.isnan(found[0]) else found


def half_wave(step: float, length: int) -> float | None:
    """How long half a wave is for columns that are ``step`` pixels apart; None where the image is too small for one.

    It is rounded, so that rows at about the same scale are read off the same wave.
    """
    half = float(f"{_STEPS * max(step, 1):.1g}")
    return half if half < length / 2 else None


def snapped(start: float, step: float, length: int, columns: int) -> tuple[float, float]:
    """The line with whole numbers in it: an image is resized to whole pixels, and cut and padded by whole pixels.

    Args:
        start: where column 0 begins, in pixels of the image.
        step: pixels of the image to a column.
        length: of the image.
        columns: of a tile; most of all an image is resized to whole tiles.
    """
    step = length / max(_whole(length / step, columns), 1e-9)
    return _whole(start / step, columns) * step, step


def _whole(count: float, columns: int) -> float:
    """The count, or the whole number of tiles or columns that it is meant to be."""
    tiles = columns * round(count / columns)
    if abs(count - tiles) < _EVEN:
        return tiles
    return round(count) if abs(count - round(count)) < _CLOSE else count

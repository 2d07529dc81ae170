"""The six backgrounds: a muted colour, a second one near it in a pattern, and grain."""

from collections.abc import Callable

import numpy as np

from tokenprune.scenes.dice import Dice
from tokenprune.scenes.strokes import Array

SIZE = 128
GRAIN = 8.5  # greatest deviation of a pixel's brightness, of 255


def _plain(dice: Dice, x: Array, y: Array) -> Array:
    return np.zeros_like(x)


def _stripes(dice: Dice, x: Array, y: Array) -> Array:
    angle, period = dice.between(0, np.pi), dice.between(8, 16)
    wave = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
    return np.where(np.sin(wave + dice.between(0, 2 * np.pi)) > 0, 1.0, 0.0)


def _checks(dice: Dice, x: Array, y: Array) -> Array:
    side = dice.whole(7, 12)
    return ((x + dice.whole(0, 11)) // side + (y + dice.whole(0, 11)) // side) % 2


def _dots(dice: Dice, x: Array, y: Array) -> Array:
    pitch, radius = dice.whole(9, 13), dice.between(2.0, 3.2)
    across, down = (x + dice.whole(0, 11)) % pitch - pitch / 2, (y + dice.whole(0, 11)) % pitch - pitch / 2
    return np.where(across**2 + down**2 < radius**2, 1.0, 0.0)


def _clouds(dice: Dice, x: Array, y: Array) -> Array:
    """Value noise: random heights on a coarse lattice, blended smoothly between its points."""
    knots = dice.whole(5, 9)
    place = np.arange(SIZE) / SIZE * (knots - 1)
    near = np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(knots)))  # [SIZE, knots]
    blend = near * near * (3 - 2 * near)
    return np.asarray(blend @ dice.grid(knots, knots) @ blend.T) * 1.6  # [SIZE, SIZE]


def _bricks(dice: Dice, x: Array, y: Array) -> Array:
    height, width = dice.whole(9, 12), dice.whole(18, 25)
    x, y = x + dice.whole(0, 11), y + dice.whole(0, 11)
    shifted = x + (y // height % 2) * (width / 2)
    return np.where((y % height < 2) | (shifted % width < 2), 1.0, 0.0)


PATTERNS: dict[str, Callable[[Dice, Array, Array], Array]] = {
    "plain": _plain,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "clouds": _clouds,
    "bricks": _bricks,
}
BACKGROUNDS = tuple(PATTERNS)


def paint_ground(dice: Dice, background: str) -> Array:
    """``[SIZE, SIZE, 3]`` colours, 0 to 255 but not yet clipped."""
    first = dice.whole(90, 189) + np.array([dice.whole(-15, 15) for _ in range(3)])
    step = dice.one_of((-1, 1)) * dice.whole(25, 49)
    second = step + np.array([dice.whole(-8, 8) for _ in range(3)])
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    pattern = PATTERNS[background](dice, x, y)  # [SIZE, SIZE]
    grain = (dice.grid(SIZE, SIZE) * 2 - 1) * GRAIN
    return np.asarray(first + pattern[..., None] * second + grain[..., None])

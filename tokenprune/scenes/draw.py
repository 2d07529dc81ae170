"""Draws scenes: a layout for each set, things placed without overlap, painted in order."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tokenprune.scenes.dice import Dice
from tokenprune.scenes.glyphs import digit_distance
from tokenprune.scenes.grounds import BACKGROUNDS, SIZE, paint_ground
from tokenprune.scenes.scene import COLORS, REGIONS, Scene, Sign, Thing
from tokenprune.scenes.shapes import SHAPES, shape_distance
from tokenprune.scenes.strokes import Array, coverage


@dataclass(frozen=True)
class Layout:
    """How many things a set shows and how large: inclusive counts, radii in pixels."""

    things: tuple[int, int]
    radius: tuple[float, float]
    sign: float = 0.6
    repeated: float = 0.4  # chance that one shape is preferred; likewise, independently, one colour


LAYOUTS = {"sparse": Layout((1, 3), (9.5, 12.0)), "crowded": Layout((2, 7), (11.0, 18.0))}
SETS = tuple(LAYOUTS)
CELL = SIZE / 3
Placed = tuple[float, float, float]  # x, y, radius


def draw(index: int, kind: str = "sparse", seed: int = 2) -> Scene:
    """Draws scene ``index`` of a set; the same arguments give the same pixels, everywhere.

    Seed 1 was trained on, seed 2 is for testing. Raises ValueError for an unknown set or a negative number.
    """
    if kind not in LAYOUTS:
        raise ValueError(f"unknown set {kind!r}: there are {', '.join(SETS)}")
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed count from 0, not {index} and {seed}")
    dice, layout = Dice(seed, index, SETS.index(kind)), LAYOUTS[kind]
    background = dice.one_of(BACKGROUNDS)
    canvas = paint_ground(dice, background)  # [SIZE, SIZE, 3]
    cells = dice.shuffled(range(len(REGIONS)))
    sign = _place_sign(dice, cells.pop()) if dice.chance(layout.sign) else None
    things = _place_things(dice, layout, cells, [(sign.x, sign.y, 19.0)] if sign else [])
    if sign:
        _paint_sign(dice, canvas, sign)
    for thing in things:
        _paint_thing(dice, canvas, thing)
    image = Image.fromarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8))
    return Scene(image, kind, tuple(things), background, sign, index, seed)


def _near(dice: Dice, cell: int, jitter: tuple[float, float], margin: tuple[float, float]) -> tuple[float, float]:
    """A place around the middle of a cell that stays ``margin`` away from the border of the image."""
    middle = (cell % 3 + 0.5) * CELL, (cell // 3 + 0.5) * CELL
    at = [m + dice.between(-j, j) for m, j in zip(middle, jitter, strict=True)]
    x, y = (min(max(p, m), SIZE - m) for p, m in zip(at, margin, strict=True))
    return x, y


def _place_sign(dice: Dice, cell: int) -> Sign:
    number = f"{dice.whole(0, 99):02d}"
    x, y = _near(dice, cell, (8.0, 10.0), (Sign.width / 2 + 1, Sign.height / 2 + 1))
    return Sign(number, REGIONS[cell], x, y)


def _place_things(dice: Dice, layout: Layout, cells: list[int], taken: list[Placed]) -> list[Thing]:
    """At most one thing for each cell, none overlapping; some scenes prefer one shape or one colour."""
    count = dice.whole(*layout.things)
    shape = dice.one_of(SHAPES) if dice.chance(layout.repeated) else None
    color = dice.one_of(tuple(COLORS)) if dice.chance(layout.repeated) else None
    things: list[Thing] = []
    for cell in cells:
        spot = _free_spot(dice, cell, dice.between(*layout.radius), taken)
        if spot is None or len(things) == count:
            continue
        taken = [*taken, spot]
        its_shape = shape if shape and dice.chance(0.5) else dice.one_of(SHAPES)
        its_color = color if color and dice.chance(0.5) else dice.one_of(tuple(COLORS))
        things.append(Thing(its_shape, its_color, REGIONS[cell], *spot))
    return things


def _free_spot(dice: Dice, cell: int, radius: float, taken: list[Placed], tries: int = 6) -> Placed | None:
    jitter = CELL / 2 - 6
    for _ in range(tries):
        x, y = _near(dice, cell, (jitter, jitter), (radius + 1, radius + 1))
        if all((x - a) ** 2 + (y - b) ** 2 > (radius + r + 2) ** 2 for a, b, r in taken):
            return x, y, radius
    return None


def _window(x: float, y: float, across: float, down: float) -> tuple[slice, slice, Array]:
    """The pixels around a place, as two slices and their centres relative to it ``[h, w, 2]``."""
    left, top = max(int(x - across), 0), max(int(y - down), 0)
    right, bottom = min(int(x + across) + 2, SIZE), min(int(y + down) + 2, SIZE)
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    return slice(top, bottom), slice(left, right), np.stack([columns - x, rows - y], axis=-1)


def _blend(canvas: Array, rows: slice, columns: slice, share: Array, color: Array) -> None:
    """Paints a colour ``[3]`` over the window in place, as opaque as ``share`` ``[h, w]`` says."""
    under = canvas[rows, columns]
    canvas[rows, columns] = under + share[..., None] * (color - under)


def _paint_thing(dice: Dice, canvas: Array, thing: Thing) -> None:
    tint = np.array(COLORS[thing.color]) + np.array([dice.whole(-18, 18) for _ in range(3)])
    tilt = np.radians(dice.between(-10, 10))
    rows, columns, points = _window(thing.x, thing.y, thing.radius + 1, thing.radius + 1)
    turned = points @ np.array([(np.cos(tilt), -np.sin(tilt)), (np.sin(tilt), np.cos(tilt))])
    share = coverage(shape_distance(thing.shape, turned / thing.radius) * thing.radius)
    _blend(canvas, rows, columns, share, np.clip(tint, 0, 255))


def _paint_sign(dice: Dice, canvas: Array, sign: Sign) -> None:
    paper, ink = np.full(3, dice.between(225, 255)), np.full(3, dice.between(0, 50))
    rows, columns, points = _window(sign.x, sign.y, sign.width / 2, sign.height / 2)
    beyond = np.abs(points) - np.array([sign.width, sign.height]) / 2 + 3  # corners of radius 3
    edge = np.hypot(*np.moveaxis(np.maximum(beyond, 0), -1, 0)) + np.minimum(beyond.max(-1), 0) - 3  # [h, w]
    _blend(canvas, rows, columns, coverage(edge), paper)
    _blend(canvas, rows, columns, coverage(np.abs(edge + 0.7) - 0.7), ink)
    thick, width, height = dice.between(1.0, 1.35), dice.between(8.0, 9.5), dice.between(14.0, 16.5)
    for digit, middle in zip(sign.number, (-7.5, 7.5), strict=True):
        shift = np.array([middle, dice.between(-1, 1)])
        _blend(canvas, rows, columns, coverage(digit_distance(digit, points - shift, width, height) - thick), ink)

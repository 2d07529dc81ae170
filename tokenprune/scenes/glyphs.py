"""The ten digits as strokes: polylines in a box of width 1 and height 1, y pointing down. No font is read."""

import numpy as np

from tokenprune.scenes.strokes import Array, arc, distance, segments


def _line(*points: tuple[float, float]) -> Array:
    return np.array(points, dtype=np.float64)


def _two() -> Array:
    return np.concatenate([arc((0.5, 0.29), (0.47, 0.29), 190, 385), _line((0.0, 1.0), (1.0, 1.0))])


def _three() -> Array:
    return np.concatenate([arc((0.46, 0.25), (0.46, 0.25), 205, 450), arc((0.46, 0.74), (0.54, 0.26), -90, 155)])


def _five() -> Array:
    return np.concatenate([_line((0.92, 0.0), (0.14, 0.0)), arc((0.47, 0.66), (0.52, 0.34), 228, 512)])


def _six() -> tuple[Array, Array]:
    return arc((0.82, 0.69), (0.8, 0.68), 180, 272), arc((0.5, 0.69), (0.48, 0.31), 0, 360)


DIGITS: dict[str, Array] = {
    "0": segments(arc((0.5, 0.5), (0.48, 0.5), 0, 360, 24)),
    "1": segments(_line((0.15, 0.24), (0.52, 0.0), (0.52, 1.0)), _line((0.18, 1.0), (0.88, 1.0))),
    "2": segments(_two()),
    "3": segments(_three()),
    "4": segments(_line((0.72, 1.0), (0.72, 0.0), (0.0, 0.68), (1.0, 0.68))),
    "5": segments(_five()),
    "6": segments(*_six()),
    "7": segments(_line((0.0, 0.0), (1.0, 0.0), (0.36, 1.0))),
    "8": segments(arc((0.5, 0.25), (0.4, 0.25), 0, 360), arc((0.5, 0.74), (0.5, 0.26), 0, 360)),
    "9": segments(*(1.0 - stroke for stroke in _six())),  # a six, turned by half a circle
}


def digit_distance(digit: str, points: Array, width: float, height: float) -> Array:
    """Distance in pixels ``[h, w]`` of points ``[h, w, 2]`` to the strokes of a digit.

    The digit stands in a box of ``width`` x ``height`` pixels around the origin.
    """
    return distance(points, (DIGITS[digit] - 0.5) * np.array([width, height]))

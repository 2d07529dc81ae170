"""Plane geometry on arrays: how far pixels are from lines, and what of a pixel a form covers.

A form is painted from its signed distance (negative inside, in pixels), which gives smooth edges at any place and size
without oversampling.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def segments(*lines: Array) -> Array:
    """The straight pieces ``[E, 2, 2]`` (start, end) of open polylines, each ``[P, 2]`` points (x, y)."""
    return np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in lines])


def outline(corners: Array) -> Array:
    """The edges ``[P, 2, 2]`` of the closed polygon with these corners ``[P, 2]``."""
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def arc(center: tuple[float, float], radii: tuple[float, float], start: float, end: float, steps: int = 16) -> Array:
    """Points ``[steps + 1, 2]`` of an elliptic arc; degrees run from the right over the bottom, as y points down."""
    angle = np.radians(np.linspace(start, end, steps + 1))
    return np.stack([center[0] + radii[0] * np.cos(angle), center[1] + radii[1] * np.sin(angle)], axis=1)


def _ends(pieces: Array) -> tuple[Array, Array, Array, Array]:
    """x and y of the starts and of the ends, each ``[E, 1, 1]``: the wide axes last, which numpy does fastest."""
    x0, y0, x1, y1 = pieces.reshape(len(pieces), 4).T[..., None, None]
    return x0, y0, x1, y1


def distance(points: Array, pieces: Array) -> Array:
    """How far each point ``[h, w, 2]`` is from the nearest of the segments ``[E, 2, 2]``: ``[h, w]``."""
    x0, y0, x1, y1 = _ends(pieces)
    dx, dy = x1 - x0, y1 - y0
    x, y = points[..., 0] - x0, points[..., 1] - y0  # [E, h, w]
    along = np.clip((x * dx + y * dy) / np.maximum(dx * dx + dy * dy, 1e-12), 0, 1)
    return np.asarray(np.sqrt(((x - along * dx) ** 2 + (y - along * dy) ** 2).min(0)))  # [h, w]


def inside(points: Array, edges: Array) -> NDArray[np.bool_]:
    """Whether each point ``[h, w, 2]`` lies in the polygon of these edges ``[E, 2, 2]``, by the even-odd rule."""
    x0, y0, x1, y1 = _ends(edges)
    x, y = points[..., 0], points[..., 1]
    rise = np.where(y1 == y0, 1.0, y1 - y0)  # a level edge crosses no level ray: any divisor does
    crossed = ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / rise)  # [E, h, w]
    return np.asarray(crossed.sum(0) % 2 == 1)


def signed_distance(points: Array, edges: Array) -> Array:
    """Distance ``[h, w]`` to the polygon's edge, negative inside."""
    return np.where(inside(points, edges), -1.0, 1.0) * distance(points, edges)


def coverage(signed: Array) -> Array:
    """The share of each pixel that a form covers, from its signed distance in pixels at the pixel's centre."""
    return np.clip(0.5 - signed, 0.0, 1.0)

"""The eight shapes, in a frame of radius 1 around the origin with y pointing down."""

import numpy as np

from tokenprune.scenes.strokes import Array, outline, signed_distance

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")


def _star() -> Array:
    angle = np.arange(10) * np.pi / 5
    reach = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return np.stack([reach * np.sin(angle), -reach * np.cos(angle)], axis=1)


def _cross(thick: float = 0.34, long: float = 0.95) -> Array:
    arm = np.array([(thick, -long), (thick, -thick), (long, -thick)])
    turns = [np.array([(np.cos(t), np.sin(t)), (-np.sin(t), np.cos(t))]) for t in np.arange(4) * np.pi / 2]
    return np.concatenate([arm @ turn for turn in turns])


def _heart(steps: int = 32) -> Array:
    """Two lobes and a point: x = sin^3 t, and a cosine series for y."""
    t = np.arange(steps) * 2 * np.pi / steps
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 16], axis=1)


CORNERS: dict[str, Array] = {
    "square": np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]),
    "triangle": np.array([(0.0, -1.0), (0.9, 0.7), (-0.9, 0.7)]),
    "diamond": np.array([(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)]),
    "star": _star(),
    "cross": _cross(),
    "heart": _heart(),
}


def shape_distance(shape: str, points: Array) -> Array:
    """Signed distance ``[h, w]`` of points ``[h, w, 2]`` to a shape, all in units of its radius."""
    if shape in CORNERS:
        return signed_distance(points, outline(CORNERS[shape]))
    radius = np.sqrt((points * points).sum(-1))
    return np.asarray(radius - 0.92 if shape == "circle" else np.abs(radius - 0.73) - 0.23)

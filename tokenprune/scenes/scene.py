"""What a scene is: an image and what stands in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokenprune.scenes.grounds import SIZE

if TYPE_CHECKING:
    from PIL.Image import Image

    from tokenprune.scenes.questions import Question

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 220, 50),
    "purple": (145, 50, 175),
    "orange": (245, 135, 30),
    "cyan": (60, 205, 225),
}
REGIONS = tuple(f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "center", "right"))


@dataclass(frozen=True)
class Thing:
    """One coloured shape; ``x``, ``y`` (its centre) and ``radius`` in pixels, ``region`` one of ``REGIONS``."""

    shape: str
    color: str
    region: str
    x: float
    y: float
    radius: float

    def covers(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points lie in the disc around it, holes and corners included."""
        return np.asarray((x - self.x) ** 2 + (y - self.y) ** 2 < (self.radius + 1) ** 2)


@dataclass(frozen=True)
class Sign:
    """A white plate with a number of two digits, such as ``"07"``; its centre in pixels."""

    number: str
    region: str
    x: float
    y: float
    width: float = 36.0
    height: float = 26.0

    def covers(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points lie on the plate."""
        return np.asarray((abs(x - self.x) < self.width / 2) & (abs(y - self.y) < self.height / 2))


@dataclass(frozen=True)
class Scene:
    """An image of 128 x 128 pixels (RGB) and everything in it: scene ``index`` of the set ``kind`` under ``seed``."""

    image: Image
    kind: str
    things: tuple[Thing, ...]
    background: str
    sign: Sign | None
    index: int
    seed: int

    def questions(self, seed: int = 0) -> tuple[Question, ...]:
        """One question of each kind that this scene can answer, with its answer."""
        from tokenprune.scenes.questions import ask_all

        return ask_all(self, seed)

    @property
    def items(self) -> tuple[Thing | Sign, ...]:
        """The things and, last, the sign."""
        return (*self.things, self.sign) if self.sign else self.things

    def map(self, patch: int = 8) -> NDArray[np.int64]:
        """What the centre of each patch shows: ``[128 / patch, 128 / patch]``.

        -1 is background, k is ``items[k]``.
        """
        y, x = (np.mgrid[0 : SIZE // patch, 0 : SIZE // patch] + 0.5) * patch
        shown = np.full(x.shape, -1, dtype=np.int64)
        for k, item in enumerate(self.items):
            shown[item.covers(x, y)] = k
        return shown

    @property
    def area(self) -> float:
        """The share of the 256 patches that show a thing or the sign."""
        return float((self.map() >= 0).mean())

"""Gemma 3n: convolutions make one map of an image, 16 x 16 by default; a token is a place of the map."""

from math import isqrt
from typing import Any

from tokenprune.family import Family
from tokenprune.layouts import Tiles
from tokenprune_adapters.towers import TIMM


def _grid(config: Any) -> tuple[int, int]:
    side = isqrt(config.vision_soft_tokens_per_image)
    return side, side


GEMMA3N = Family(
    model_types=("gemma3n",),
    towers={"gemma3n_vision": TIMM},
    projector="embed_vision",
    layout=Tiles(grid=_grid),
)

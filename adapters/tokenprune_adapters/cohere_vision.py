"""Aya Vision and Command A Vision: tiles between marker tokens, pixel shuffle of 2 x 2 patches."""

from typing import Any

from tokenprune.family import Family, square
from tokenprune.layouts import Tiles
from tokenprune_adapters.towers import SIGLIP


def _grid(config: Any) -> tuple[int, int]:
    height, width = square(config)
    return height // config.downsample_factor, width // config.downsample_factor


COHERE_VISION = Family(
    model_types=("aya_vision", "cohere2_vision"),
    towers={"siglip_vision_model": SIGLIP},
    layout=Tiles(grid=_grid, merge=lambda config: config.downsample_factor, image="marked"),
)

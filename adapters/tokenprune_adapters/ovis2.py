"""Ovis2: tiles between marker tokens, 2 x 2 patches a token, embedded by a visual vocabulary."""

from typing import Any

from tokenprune.family import Family, Tower, square
from tokenprune.layouts import Tiles


def _grid(config: Any) -> tuple[int, int]:
    height, width = square(config)
    return height // config.vision_config.hidden_stride, width // config.vision_config.hidden_stride


OVIS2 = Family(
    model_types=("ovis2",),
    towers={"ovis2_vision": Tower(attention=("transformer.encoder.layers.{}.attention",))},
    projector=None,
    layout=Tiles(grid=_grid, merge=lambda config: config.vision_config.hidden_stride, image="run"),
)

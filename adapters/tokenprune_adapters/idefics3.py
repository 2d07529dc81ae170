"""Idefics3 and SmolVLM: tiles between marker tokens, then the whole image; scale_factor squared patches a token."""

from typing import Any

from tokenprune.family import Family, square
from tokenprune.layouts import Tiles
from tokenprune_adapters.towers import SIGLIP


def _grid(config: Any) -> tuple[int, int]:
    height, width = square(config)
    return height // config.scale_factor, width // config.scale_factor


IDEFICS3 = Family(
    model_types=("idefics3", "smolvlm"),
    towers={"idefics3_vision": SIGLIP, "smolvlm_vision": SIGLIP},
    tower="vision_model",
    projector="connector",
    language_model="text_model",
    layout=Tiles(grid=_grid, merge=lambda config: config.scale_factor, image="marked"),
)

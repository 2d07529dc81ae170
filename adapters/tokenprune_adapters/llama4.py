"""Llama 4: tiles between marker tokens, the CLS token last, pixel shuffle; the projector runs inside forward."""

from typing import Any

from tokenprune.family import Family, Tower, square
from tokenprune.layouts import Tiles


def _merge(config: Any) -> int:
    merge: int = round(1 / config.vision_config.pixel_shuffle_ratio)
    return merge


def _grid(config: Any) -> tuple[int, int]:
    height, width = square(config)
    return height // _merge(config), width // _merge(config)


LLAMA4 = Family(
    model_types=("llama4",),
    towers={"llama4_vision_model": Tower(attention=("model.layers.{}.self_attn",), cls="last")},
    tower="vision_model",
    projector=None,
    feature_field="last_hidden_state",
    feature_layer=lambda config: -1,
    layout=Tiles(grid=_grid, merge=_merge, image="run"),
)

"""Granite Docling: tiles between marker tokens, then the whole page; half as many patches a side on the fine route."""

from typing import Any

from tokenprune.family import Family, Tower, square
from tokenprune.layouts import Tiles


def _merge(config: Any) -> int:
    fine = getattr(config, "tile_fine_mask", None) is not None
    return int(config.vision_config.scale_factor) // (2 if fine else 1)


def _grid(config: Any) -> tuple[int, int]:
    height, width = square(config)
    return height // _merge(config), width // _merge(config)


GRANITE_DOCLING = Family(
    model_types=("granite_docling",),
    towers={"granite_docling_vision": Tower()},
    tower="vision_model",
    projector="vision_model.connector",
    language_model="text_model",
    feature_layer=lambda config: -1,
    layout=Tiles(grid=_grid, merge=_merge, image="marked"),
    since="5.23",
)

"""Dots 3 Note: images of their own size, 2 x 2 patches a token, one axis."""

from tokenprune.family import Family
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge
from tokenprune_adapters.towers import QWEN

DOTS3_NOTE = Family(
    model_types=("dots3_note",),
    towers={"dots3_note_vision_encoder": QWEN},
    projector="vision_tower.merger",
    layout=Native(image_grids, spatial_merge),
    since="5.23",
)

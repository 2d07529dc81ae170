"""PaddleOCR-VL: images of their own size, patches in reading order, 2 x 2 patches a token, three axes."""

from typing import Any

import torch

from tokenprune.family import Family, Tower
from tokenprune.layout import Seen
from tokenprune.layouts import Native


def _grids(seen: Seen) -> torch.Tensor:
    grids: torch.Tensor = seen.call["image_grid_thw"]
    return grids


def _merge(config: Any) -> int:
    return int(config.vision_config.spatial_merge_size)


PADDLEOCR_VL = Family(
    model_types=("paddleocr_vl",),
    towers={"paddleocr_vl_vision": Tower()},
    tower="visual",
    projector="projector",
    feature_layer=lambda config: -1,
    layout=Native(_grids, _merge, blocks=False),
    positions="keep",
)

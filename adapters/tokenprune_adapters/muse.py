"""Muse Glimmer and Muse Spark: patches in the order of attention windows, 2 x 2 of them a token, one axis."""

from typing import Any

import torch

from tokenprune.family import Family, Tower
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids


def _merge(config: Any) -> int:
    return int(config.vision_config.merge_size)


def _window_order(seen: Seen) -> torch.Tensor:
    """The patch at each place of the encoder's sequence."""
    from transformers.vision_utils import get_vision_window_index

    tower = seen.base.vision_tower
    index = get_vision_window_index(
        seen.call["image_grid_thw"], tower.spatial_merge_size, tower.window_size, tower.patch_size
    )[0]
    return torch.as_tensor(index)


_TOWER = Tower(attention=("layers.{}.attn",))
MUSE = Family(
    model_types=("muse_glimmer", "muse_spark"),
    towers={"muse_glimmer_vision": _TOWER, "muse_spark_vision": _TOWER},
    projector="vision_adapter",
    layout=Native(image_grids, _merge, order=_window_order, blocks=False),
)

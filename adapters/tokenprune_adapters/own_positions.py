"""EXAONE 4.5 and HyperCLOVA X: encoders like Qwen2.5-VL's, and position ids that ``generate`` leaves to the model."""

import torch

from tokenprune.family import Family
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge
from tokenprune_adapters.towers import QWEN


def _window_order(seen: Seen) -> torch.Tensor:
    """The block at each place of the encoder's sequence: that of its attention windows."""
    from transformers.vision_utils import get_vision_window_index

    vision = seen.config.vision_config
    index = get_vision_window_index(
        seen.call["image_grid_thw"], vision.spatial_merge_size, vision.window_size, vision.patch_size
    )[0]
    return torch.as_tensor(index)


_LAYOUT = Native(image_grids, spatial_merge, order=_window_order)
EXAONE4_5 = Family(
    model_types=("exaone4_5",),
    towers={"exaone4_5_vision": QWEN},
    tower="visual",
    projector="visual.merger",
    layout=_LAYOUT,
    policies=("renumber",),
)
HYPERCLOVAX = Family(
    model_types=("hyperclovax_vision_v2",),
    towers={"qwen2_5_vl_vision": QWEN},
    tower="vision_model",
    projector="vision_model.merger",
    layout=_LAYOUT,
    policies=("renumber",),
)

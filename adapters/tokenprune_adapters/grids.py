"""How families with images of their own size say how large they are."""

from typing import Any

import torch

from tokenprune.layout import Seen


def image_grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, height and width in patches, as the processor gives them."""
    grids: torch.Tensor = seen.call["image_grid_thw"]
    return grids


def spatial_merge(config: Any) -> int:
    """Patches a side that become one token."""
    return int(config.vision_config.spatial_merge_size)


def window_order(seen: Seen) -> torch.Tensor:
    """The block at each place of the encoder's sequence: that of its attention windows."""
    from transformers.vision_utils import get_vision_window_index

    vision = seen.config.vision_config
    index = get_vision_window_index(
        seen.call["image_grid_thw"], vision.spatial_merge_size, vision.window_size, vision.patch_size
    )[0]
    return torch.as_tensor(index)

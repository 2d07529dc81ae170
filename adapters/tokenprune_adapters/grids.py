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

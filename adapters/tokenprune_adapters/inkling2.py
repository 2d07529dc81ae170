"""Inkling 2: images of their own size with a CLS token each, 2 x 2 patches a token, one axis."""

import torch

from tokenprune.family import Family, Tower
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune_adapters.grids import spatial_merge


def _grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, height and width in patches; the processor counts tokens."""
    tokens: torch.Tensor = seen.call["image_grid_thw"]
    merge = spatial_merge(seen.config)
    return tokens * torch.tensor([1, merge, merge], device=tokens.device)


INKLING2 = Family(
    model_types=("inkling2",),
    towers={"inkling2_vision": Tower(attention=("layers.{}.self_attn",), cls="first")},
    projector="vision_tower.merger",
    feature_layer=lambda config: -1,
    layout=Native(_grids, spatial_merge),
    since="5.23",
)

"""LFM2-VL, with tiles and a thumbnail padded to one length, and LFM3-VL, with images laid end to end."""

from dataclasses import replace

import torch

from tokenprune.counted import Counted
from tokenprune.family import Family, Tower
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native
from tokenprune.sliced import Sliced
from tokenprune_adapters.grids import image_grids, spatial_merge


def _grids(seen: Seen) -> torch.Tensor:
    sizes: torch.Tensor = seen.call["spatial_shapes"]
    return torch.cat([torch.ones_like(sizes[:, :1]), sizes], 1)


_CROPS = Sliced(Native(_grids, lambda config: int(config.downsample_factor), blocks=False), image="ends")


def _padded(seen: Seen) -> Layout:
    """The encoder runs on padded crops; what leaves it for the projector is not padded."""
    return replace(_CROPS(seen), real=seen.call["pixel_attention_mask"].flatten().bool())


LFM2_VL = Family(
    model_types=("lfm2_vl",),
    towers={"siglip2_vision_model": Tower()},
    layout=Counted(_padded, _CROPS.rows, _CROPS.alone),
)
LFM3_VL = Family(
    model_types=("lfm3_vl",),
    towers={"lfm3_vl_vision": Tower(attention=("layers.{}.self_attn",))},
    layout=Native(image_grids, spatial_merge),
    since="5.23",
)

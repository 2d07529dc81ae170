"""MiniMax M3: images of their own size, 2 x 2 patches a token, one axis."""

from tokenprune.family import Family, Tower
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge

MINIMAX_M3_VL = Family(
    model_types=("minimax_m3_vl",),
    towers={"minimax_m3_vl_vision": Tower(attention=("layers.{}.self_attn",))},
    layout=Native(image_grids, spatial_merge),
    policies=("renumber",),  # its sparse attention takes position ids for places in the cache
)

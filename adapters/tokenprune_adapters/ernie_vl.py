"""ERNIE 4.5 VL: images of their own size, 2 x 2 patches a token, three axes, experts of their own for visual tokens."""

from tokenprune.family import Family
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge
from tokenprune_adapters.towers import QWEN

ERNIE4_5_VL_MOE = Family(
    model_types=("ernie4_5_vl_moe",),
    towers={"ernie4_5_vl_moe_vision": QWEN},
    projector="resampler_model",
    per_token=("mm_token_type_ids", "moe_mm_token_type_ids"),
    layout=Native(image_grids, spatial_merge),
    positions="keep",
)

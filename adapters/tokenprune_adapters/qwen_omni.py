"""The thinkers of Qwen2.5-Omni and Qwen3-Omni: images as in Qwen2.5-VL and Qwen3-VL; attach the thinker itself."""

from tokenprune.family import Family
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge, window_order
from tokenprune_adapters.towers import QWEN

QWEN2_5_OMNI = Family(
    model_types=("qwen2_5_omni_thinker",),
    towers={"qwen2_5_omni_vision_encoder": QWEN},
    tower="visual",
    projector="visual.merger",
    layout=Native(image_grids, spatial_merge, order=window_order),
    positions="keep",
    since="5.21",
)
QWEN3_OMNI_MOE = Family(
    model_types=("qwen3_omni_moe_thinker",),
    towers={"qwen3_omni_moe_vision_encoder": QWEN},
    tower="visual",
    projector="visual.merger",
    layout=Native(image_grids, spatial_merge),
    positions="keep",
    since="5.21",
)

"""EXAONE 4.5 and HyperCLOVA X: encoders like Qwen2.5-VL's, and position ids that ``generate`` leaves to the model."""

from tokenprune.family import Family
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge, window_order
from tokenprune_adapters.towers import QWEN

_LAYOUT = Native(image_grids, spatial_merge, order=window_order)
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

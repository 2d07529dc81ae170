"""DeepSeek-VL, its hybrid and Janus: one row of tokens an image, no CLS token."""

from tokenprune.family import Family
from tokenprune_adapters.towers import SIGLIP

DEEPSEEK_VL = Family(
    model_types=("deepseek_vl", "deepseek_vl_hybrid", "janus"),
    towers={"siglip_vision_model": SIGLIP, "janus_vision_model": SIGLIP},
    tower="vision_model",
    projector="aligner",
)

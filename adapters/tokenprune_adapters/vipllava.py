"""VipLlava: LLaVA with the outputs of five encoder layers side by side; the deepest of them gives the cues."""

from tokenprune.family import Family
from tokenprune_adapters.towers import CLIP

VIPLLAVA = Family(
    model_types=("vipllava",),
    towers={"clip_vision_model": CLIP},
)

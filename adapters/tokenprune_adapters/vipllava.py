"""VipLlava: LLaVA with the outputs of five encoder layers side by side; the deepest of them gives the cues."""

from typing import Any

from tokenprune.family import Family, deepest
from tokenprune_adapters.towers import CLIP


def _layer(config: Any) -> int:
    """The setting was called ``vision_feature_layers`` up to transformers 5.22."""
    older = getattr(config, "vision_feature_layers", None)
    return deepest(config, config.vision_feature_layer if older is None else older)


VIPLLAVA = Family(
    model_types=("vipllava",),
    towers={"clip_vision_model": CLIP},
    feature_layer=_layer,
)

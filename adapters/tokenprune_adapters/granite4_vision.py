"""Granite 4 Vision: packed as LLaVA-NeXT, a window of patches a token; its streams enter at layers of their own."""

from typing import Any

from tokenprune.errors import AttachError
from tokenprune.family import Family
from tokenprune.layouts import Packed
from tokenprune_adapters.towers import BY_TYPE


def _window(config: Any) -> int:
    """Patches a side of a token.

    Raises:
        AttachError: tokens and patches do not line up.
    """
    queries, patches = map(int, config.downsample_rate.split("/"))
    if patches % queries:
        raise AttachError(
            f"downsample_rate is {config.downsample_rate}; a token must be a whole number of patches wide"
        )
    return patches // queries


GRANITE4_VISION = Family(
    model_types=("granite4_vision",),
    towers=BY_TYPE,
    projector="layerwise_projectors.0",
    feature_field="deepstack_features",
    layout=Packed(merge=_window),
)

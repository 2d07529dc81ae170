"""Pixtral's images of their own size, laid end to end: Mistral Small 3 and Large 4, LightOnOCR; LLaVA is the first."""

from typing import Any

import torch

from tokenprune.family import Family
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune_adapters.towers import PIXTRAL


def grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, height and width in patches."""
    sizes = torch.as_tensor(seen.call["image_sizes"]) // seen.config.vision_config.patch_size
    return torch.cat([torch.ones_like(sizes[:, :1]), sizes], 1)


def _merge(config: Any) -> int:
    return int(config.spatial_merge_size)


_LAYOUT = Native(grids, _merge, blocks=False)
MISTRAL3 = Family(model_types=("mistral3", "mistral_large4"), towers={"pixtral": PIXTRAL}, layout=_LAYOUT)
LIGHTON_OCR = Family(
    model_types=("lighton_ocr",),
    towers={"pixtral": PIXTRAL},
    tower="vision_encoder",
    projector="vision_projection",
    layout=_LAYOUT,
    feature_layer=lambda config: -1,
)

"""VideoLLaMA 3: images of their own size, a token each patch; the processor says how many become one on average."""

from typing import Any

import torch

from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Tower
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids


def _merge(config: Any) -> int:
    """Patches a side; the images of a call have one in common, and between three patches the model interpolates."""
    merges = set(getattr(config, "image_merge_sizes", torch.ones(1, dtype=torch.int64)).tolist())  # processors say 1
    if not merges < {1, 2}:
        raise UnsupportedMode(f"image_merge_sizes are {sorted(merges)}; all images of a call must have 1, or all 2")
    return int(merges.pop())


VIDEO_LLAMA_3 = Family(
    model_types=("video_llama_3",),
    towers={"video_llama_3_vision": Tower()},
    tower="vision_model",
    projector="projector",
    layout=Native(image_grids, _merge),
)

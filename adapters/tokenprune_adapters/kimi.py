"""Kimi K2.5: images of their own size, patches in reading order, 2 x 2 patches side by side enter the projector."""

from typing import Any

from tokenprune.family import Family, Tower
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids


def _merge(config: Any) -> int:
    return int(config.vision_config.merge_kernel_size[0])


KIMI_K25 = Family(
    model_types=("kimi_k25",),
    towers={"kimi_k25_vision": Tower(attention=("layers.{}.attn",))},
    projector="mm_projector",
    layout=Native(image_grids, _merge, blocks=False),
)

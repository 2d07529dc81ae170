"""Mistral Small 3 and Pixtral-based LLaVA: images of their own size, laid end to end in one sequence."""

from typing import Any

import torch

from tokenprune.family import Family
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune_adapters.towers import PIXTRAL


def _grids(seen: Seen) -> torch.Tensor:
    sizes = torch.as_tensor(seen.call["image_sizes"]) // seen.config.vision_config.patch_size
    return torch.cat([torch.ones_like(sizes[:, :1]), sizes], 1)


def _merge(config: Any) -> int:
    return int(config.spatial_merge_size)


MISTRAL3 = Family(
    model_types=("mistral3",),
    towers={"pixtral": PIXTRAL},
    layout=Native(_grids, _merge, blocks=False),
)

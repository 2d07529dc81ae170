"""Gemma 4: images of their own size, padded to one length; 3 x 3 patches a token, which the unified model takes raw."""

from dataclasses import replace
from math import prod
from typing import Any

import torch

from tokenprune.counted import Counted
from tokenprune.family import Family, Tower
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native


def _grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, height and width in patches, off the (x, y) of each patch; -1 is padding."""
    sizes = seen.call["image_position_ids"].amax(1).flip(-1) + 1
    return torch.cat([torch.ones_like(sizes[:, :1]), sizes], 1)


def _merge(config: Any) -> int:
    return int(config.vision_config.pooling_kernel_size)


_PATCHES = Native(_grids, _merge, blocks=False)


def _layout(seen: Seen) -> Layout:
    """Every image takes as many places of the encoder's sequence as the largest; what is over is padding."""
    real = (seen.call["image_position_ids"] >= 0).all(-1)  # [I, P]
    return replace(_PATCHES(seen), real=real.flatten().to(seen.device))


GEMMA4 = Family(
    model_types=("gemma4",),
    towers={"gemma4_vision": Tower()},
    projector="embed_vision",
    layout=Counted(_layout, _PATCHES.rows, alone=lambda config, size: prod(_PATCHES.alone(config, size))),
)
GEMMA4_UNIFIED = Family(
    model_types=("gemma4_unified",),
    towers={},
    tower=None,
    projector=None,
    layout=Native(
        _grids,
        lambda config: 1,
        blocks=False,
        patch=lambda config: int(config.vision_config.patch_size * _merge(config)),
    ),
)

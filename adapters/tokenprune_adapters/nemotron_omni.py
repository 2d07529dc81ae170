"""Nemotron Omni: images of their own size after CLS and register tokens, pixel shuffle of 2 x 2 patches."""

from typing import Any

import torch

from tokenprune.family import Family, Tower
from tokenprune.layout import Seen
from tokenprune.layouts import Native


def _grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, height and width in patches."""
    sizes = torch.as_tensor(seen.call["image_grid_hw"])
    return torch.cat([torch.ones_like(sizes[:, :1]), sizes], 1)


def _registers(config: Any) -> int:
    return int(config.vision_config.num_cls_tokens + config.vision_config.num_registers)


NEMOTRON_OMNI = Family(
    model_types=("nemotron_h_omni",),
    towers={"radio": Tower(("encoder.layer.{}.attention",), registers=_registers)},
    tower="vision_model",
    language_model="language_model.model",
    feature_layer=lambda config: -1,
    layout=Native(_grids, lambda config: round(1 / config.downsample_ratio), blocks=False),
)

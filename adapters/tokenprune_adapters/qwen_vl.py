"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5, GLM-4V: images of their own size, 2 x 2 patches a token, three axes."""

from typing import Any

import torch

from tokenprune.family import Family
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune_adapters.towers import QWEN


def _grids(seen: Seen) -> torch.Tensor:
    grids: torch.Tensor = seen.call["image_grid_thw"]
    return grids


def _merge(config: Any) -> int:
    return int(config.vision_config.spatial_merge_size)


def _window_order(seen: Seen) -> torch.Tensor:
    """Qwen2.5-VL's encoder works on blocks in the order of its attention windows."""
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as module

    visual, grids = seen.base.visual, seen.call["image_grid_thw"]
    if hasattr(visual, "get_window_index"):
        index = visual.get_window_index(grids)[0]
    else:
        vision = seen.config.vision_config
        index = module.get_vision_window_index(grids, vision.spatial_merge_size, vision.window_size, vision.patch_size)[
            0
        ]
    return torch.as_tensor(index)


def _family(*names: str, order: object = None) -> Family:
    return Family(
        model_types=names,
        towers={f"{name}_vision": QWEN for name in names},
        tower="visual",
        projector="visual.merger",
        layout=Native(_grids, _merge, order=order),  # type: ignore[arg-type]
        positions="keep",
    )


QWEN2_VL = _family("qwen2_vl")
QWEN2_5_VL = _family("qwen2_5_vl", order=_window_order)
QWEN3_VL = _family("qwen3_vl", "qwen3_vl_moe", "cohere_compass", "cosmos3_omni")
QWEN3_5 = _family("qwen3_5", "qwen3_5_moe", "qwen4_exp")
GLM4V = _family("glm4v", "glm4v_moe", "glm46v", "glm_ocr", "glmga")

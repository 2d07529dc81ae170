"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5, GLM-4V: images and frames of their own size, 2 x 2 patches a token."""

from collections.abc import Callable
from typing import Any

import torch

from tokenprune.family import Family
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune.video import Video
from tokenprune_adapters.grids import spatial_merge
from tokenprune_adapters.towers import QWEN


def _sizes(name: str) -> Callable[[Seen], torch.Tensor]:
    """[I, 3] frames, height and width in patches, from the call."""
    return lambda seen: torch.as_tensor(seen.call[name])


def _window_order(name: str) -> Callable[[Seen], torch.Tensor]:
    """Qwen2.5-VL's encoder works on blocks in the order of its attention windows."""

    def order(seen: Seen) -> torch.Tensor:
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as module

        visual, grids, vision = seen.base.visual, seen.call[name], seen.config.vision_config
        if hasattr(visual, "get_window_index"):
            return torch.as_tensor(visual.get_window_index(grids)[0])
        sides = vision.spatial_merge_size, vision.window_size, vision.patch_size
        return torch.as_tensor(module.get_vision_window_index(grids, *sides)[0])

    return order


def _family(*names: str, windows: bool = False, **video: Any) -> Family:
    images, videos = (
        Native(_sizes(name), spatial_merge, order=_window_order(name) if windows else None)
        for name in ("image_grid_thw", "video_grid_thw")
    )
    return Family(
        model_types=names,
        towers={f"{name}_vision": QWEN for name in names},
        tower="visual",
        projector="visual.merger",
        layout=images,
        positions="keep",
        video=Video(videos, **video),
    )


QWEN2_VL = _family("qwen2_vl")
QWEN2_5_VL = _family("qwen2_5_vl", windows=True)
QWEN3_VL = _family("qwen3_vl", "qwen3_vl_moe", "cohere_compass", "cosmos3_omni", marked=True)
QWEN3_5 = _family("qwen3_5", "qwen3_5_moe", "qwen4_exp", marked=True)
GLM4V = _family("glm4v", "glm4v_moe", "glm46v", "glm_ocr", "glmga", marked=True, placeholder="image_token_id")

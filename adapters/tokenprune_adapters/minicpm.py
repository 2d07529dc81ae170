"""MiniCPM-V and MiniCPM-OCR: an overview and slices, patches merged inside the encoder and after it."""

from typing import Any

import torch

from tokenprune.family import Family, Tower
from tokenprune.layout import Seen
from tokenprune.layouts import Native
from tokenprune.sliced import Sliced


def _inside(config: Any) -> int:
    """Patches a side that the encoder merges on its way."""
    return 1 if config.downsample_mode == "4x" else 2


def _grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, height and width in what leaves the encoder."""
    sizes: torch.Tensor = seen.call["target_sizes"].long() // _inside(seen.config)
    return torch.cat([torch.ones_like(sizes[:, :1]), sizes], 1)


def _merge(config: Any) -> int:
    return int(config.merge_kernel_size[0] ** config.merger_times)


def _patch(config: Any) -> int:
    return int(config.vision_config.patch_size) * _inside(config)


def _family(name: str, **more: Any) -> Family:
    return Family(
        model_types=(name,),
        towers={f"{name}_vision": Tower()},
        projector="merger",
        layout=Sliced(Native(_grids, _merge, blocks=False, patch=_patch), image="begins"),
        **more,
    )


MINICPMV4_6 = _family("minicpmv4_6")
MINICPM_OCR = _family("minicpm_ocr", since="5.21")
MINICPMV4_7 = _family("minicpmv4_7", positions="keep")

"""InternVL and Qianfan-OCR: tiles and a thumbnail in one run of placeholders, pixel shuffle of 2 x 2 patches."""

from typing import Any

from tokenprune.family import Family, Tower
from tokenprune.layouts import Tiles


def _merge(config: Any) -> int:
    merge: int = round(1 / config.downsample_ratio)
    return merge


def _grid(config: Any) -> tuple[int, int]:
    vision, merge = config.vision_config, _merge(config)
    return vision.image_size[0] // vision.patch_size[0] // merge, vision.image_size[1] // vision.patch_size[1] // merge


_TOWER = Tower(attention=("encoder.layer.{}.attention", "layers.{}.attention"), cls="first")
INTERNVL = Family(
    model_types=("internvl", "qianfan_ocr"),
    towers={"internvl_vision": _TOWER, "qianfan_ocr_vision": _TOWER},
    layout=Tiles(grid=_grid, merge=_merge, image="run"),
)

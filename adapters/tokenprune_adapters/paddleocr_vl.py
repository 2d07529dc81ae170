"""PaddleOCR-VL: images of their own size, patches in reading order, 2 x 2 patches a token, three axes."""

from tokenprune.family import Family, Tower
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge

PADDLEOCR_VL = Family(
    model_types=("paddleocr_vl",),
    towers={"paddleocr_vl_vision": Tower()},
    tower="visual",
    projector="projector",
    feature_layer=lambda config: -1,
    layout=Native(image_grids, spatial_merge, blocks=False),
    positions="keep",
    since="5.21",
)

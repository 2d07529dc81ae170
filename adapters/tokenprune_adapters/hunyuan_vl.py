"""HunYuan-VL: images of their own size; begin, newlines and end are feature rows too; three or four axes."""

from tokenprune.family import Family, Tower
from tokenprune.framed import Framed
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge

HUNYUAN_VL = Family(
    model_types=("hunyuan_vl",),
    towers={"hunyuan_vl_vision": Tower(attention=("layers.{}.self_attn",))},
    projector="vision_tower.patch_merger",
    layout=Framed(Native(image_grids, spatial_merge, blocks=False), before=1, line=1, after=1),
    positions="keep",
)

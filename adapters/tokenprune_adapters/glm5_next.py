"""GLM-5.3: images of their own size, 2 x 2 patches a token; its language model counts no positions."""

from tokenprune.family import Family
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge
from tokenprune_adapters.towers import QWEN

GLM5_NEXT = Family(
    model_types=("glm5_next",),
    towers={"glm5_next_vision": QWEN},
    tower="visual",
    projector="visual.merger",
    layout=Native(image_grids, spatial_merge),
)

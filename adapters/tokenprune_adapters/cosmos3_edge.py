"""Cosmos 3 Edge: images of their own size, 2 x 2 patches a token, three axes."""

from tokenprune.family import Family, Tower
from tokenprune.layouts import Native
from tokenprune_adapters.grids import image_grids, spatial_merge

COSMOS3_EDGE = Family(
    model_types=("cosmos3_edge",),
    towers={"cosmos3_edge_vision": Tower()},
    tower="visual",
    projector="projector",
    layout=Native(image_grids, spatial_merge),
    positions="keep",
)

"""FastVLM: convolutions make one map of an image, whatever its size; a token is a place of the map."""

from math import isqrt

import torch

from tokenprune.family import Family
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native
from tokenprune_adapters.towers import TIMM


def _grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, height and width of the map; only the tower knows how many pixels a side of a place is."""
    images, _, height, width = seen.call["pixel_values"].shape
    side = isqrt(height * width // len(seen.pieces[0]))
    return torch.tensor([[1, height // side, width // side]] * images)


_MAP = Native(_grids, lambda config: 1, blocks=False)


def _layout(seen: Seen) -> Layout:
    """Only what the tower gives says how large the map is."""
    return _MAP(seen)


FAST_VLM = Family(
    model_types=("fast_vlm",),
    towers={"timm_wrapper": TIMM},
    layout=_layout,
)

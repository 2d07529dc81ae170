"""Perception LM: an image as a whole and in tiles of one size, average pooling of 2 x 2 patches by default.

The method that encodes images encodes frames too.
"""

from dataclasses import replace
from math import isqrt

import torch

from tokenprune.errors import AttachError
from tokenprune.family import Family
from tokenprune.frames import Frames, blocks
from tokenprune.layout import Layout, Seen
from tokenprune.video import Video
from tokenprune_adapters.towers import TIMM


def _frames(seen: Seen, pixels: str) -> Layout:
    """Rows of the tiles of every image, or of the frames of every video, [I, T, ...].

    Raises:
        AttachError: tokens and patches do not line up.
    """
    pooled, side = seen.config.projector_pooling_ratio, isqrt(len(seen.pieces[0]))
    if (wide := seen.call[pixels].shape[-1]) % (side * pooled):
        raise AttachError(f"{side} tokens a side, each of {pooled} patches, do not divide tiles of {wide} pixels")
    cells = blocks((side * pooled, side * pooled), pooled)
    return Frames(lambda config: cells, videos=lambda seen: seen.call[pixels])(seen)


def _tiles(seen: Seen) -> Layout:
    """The first tile is the whole image."""
    images, tiles = seen.call["pixel_values"].shape[:2]
    whole = torch.arange(images * tiles) % tiles == 0
    return replace(_frames(seen, "pixel_values"), overview=whole)


PERCEPTION_LM = Family(
    model_types=("perception_lm",),
    towers={"timm_wrapper": TIMM},
    layout=_tiles,
    video=Video(
        lambda seen: _frames(seen, "pixel_values_videos"),
        method="get_image_features",
        renamed={"pixel_values": "pixel_values_videos"},
    ),
)

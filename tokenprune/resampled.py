"""Images that a resampler sums up: tokens are its latents, which have no place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from einops import rearrange
from torch import Tensor

from tokenprune.layout import Layout, Seen, check_rows, tile_groups


@dataclass(frozen=True)
class Latents:
    """Every tile becomes the same number of latents (Idefics2, Aria).

    Args:
        count: latents of a tile.
        image: what makes an image of tiles; see `tile_groups`.
    """

    count: Callable[[Seen], int]
    image: str = "tile"

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        count = self.count(seen)
        tiles = sum(len(piece) for piece in seen.pieces) // count
        check_rows(seen, tiles * count)
        index = torch.arange(tiles * count, device=seen.device)
        return Layout(
            lengths=[count] * tiles,
            index=index,
            patches=index.view(tiles, count, 1),
            item=torch.arange(tiles),
            group=torch.tensor(tile_groups(seen.runs, count, self.image)),
            outputs=tiles * count,
        )

    def rows(self, seen: Seen) -> int:
        """Feature rows of all images of a call; their features are not read."""
        tiles: int = prod(seen.call["pixel_values"].shape[:-3])
        return tiles * self.count(seen)


def resampled(layout: Layout, looks: Tensor) -> Layout:
    """The same, where what is said of encoder outputs is said of latents: weighted as each of them looks at these.

    Args:
        layout: of latents.
        looks: [T, Q, K] attention of the Q latents of each tile to its encoder outputs, and to what may follow them.
    """

    def mix(values: Tensor) -> Tensor:
        per = rearrange(values, "(t s) c -> t s c", t=len(looks))
        return (looks[..., : per.shape[1]] @ per).flatten(0, 1)  # [R, C]

    return replace(layout, mix=mix)

"""Molmo2: a low view and crops of an image; the processor says which patches a token pools."""

from dataclasses import replace

import torch

from tokenprune.counted import Counted
from tokenprune.family import Family, Tower
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native


def _views(seen: Seen) -> torch.Tensor:
    """[B, 3] frames, height and width in tokens: of each image the low view, then its crops laid out, if there are."""
    sizes = seen.call["image_grids"].view(-1, 2)
    sizes = sizes[sizes.prod(-1) > 0]
    return torch.cat([torch.ones_like(sizes[:, :1]), sizes], 1)


_TOKENS = Native(_views, lambda config: 1, blocks=False)


def _layout(seen: Seen) -> Layout:
    """Each view is a row."""
    laid, pooled = _TOKENS(seen), seen.call["image_token_pooling"]
    pooled = pooled[(pooled >= 0).any(-1)].to(seen.device)  # [R, K]
    patches = pooled.new_zeros(laid.patches.shape[0] * laid.patches.shape[1], pooled.shape[1])
    patches[laid.index] = pooled
    there = seen.call["image_grids"].view(-1, 2, 2).prod(-1) > 0  # [I, 2]
    image, view = there.nonzero().cpu().unbind(-1)
    return replace(
        laid,
        patches=patches.view(*laid.patches.shape[:2], -1),
        group=image,
        overview=view == 0,
        outputs=seen.call["pixel_values"].shape[:-1].numel(),
    )


MOLMO2 = Family(
    model_types=("molmo2",),
    towers={"molmo2_vision": Tower(attention=("layers.{}.self_attn",))},
    feature_layer=lambda config: -1,
    layout=Counted(_layout, _TOKENS.rows),
)

"""How bright the pixels of each patch are, read where a vision encoder cuts images into patches."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from tokenprune.family import Tower

LEVELS = 256


def cutter_of(encoder: Any, spec: Tower) -> Any:
    """The convolution that makes the patches of its sequence, in reading order. None: it cannot be read."""
    if not spec.patches:
        return None
    return next((module for name, module in encoder.named_modules() if name.endswith(spec.patches)), None)


def grey_histogram(images: Tensor, side: tuple[int, int], before: int = 0, after: int = 0) -> Tensor:
    """[b, LEVELS, S] float32, the share of each level of grey among the pixels of each patch; levels sum to one.

    Grey is the mean over channels of what the encoder gets, on a scale of its own for each image, from its darkest
    pixel to its brightest: how a processor normalised it need not be known.

    Args:
        images: [b, C, H, W].
        side: (height, width) of a patch in pixels; what is left over at the edges is not seen.
        before: places without a patch that come first in the sequence, such as a CLS token; zero there.
        after: places without a patch that come last.
    """
    grey = images.detach().float().mean(1)
    high, wide = (whole // part for whole, part in zip(grey.shape[1:], side, strict=True))
    grey = grey[:, : high * side[0], : wide * side[1]].nan_to_num(0, 0, 0)
    low, top = grey.amin((1, 2), keepdim=True), grey.amax((1, 2), keepdim=True)
    share = (grey - low) / (top - low).clamp(min=torch.finfo(torch.float32).tiny)
    level = (share * LEVELS).long().clamp(max=LEVELS - 1)
    level = rearrange(level, "b (h p) (w q) -> b (h w) (p q)", p=side[0], q=side[1])
    counts = torch.zeros(*level.shape[:2], LEVELS, device=level.device)
    counts = counts.scatter_add_(2, level, torch.ones_like(level, dtype=torch.float32))
    return pad((counts / level.shape[2]).mT, (before, after))

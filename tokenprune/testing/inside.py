"""Cues of words, and of what the language model looks at, in their shapes."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from tokenprune.testing.values import attention, features

INSIDE = {
    "question": "BRC",
    "inputs": "BMC",
    "text_states": "BRC",
    "text_keys": "BRC",
    "last_attention": "BHN",
    "text_attention": "BHRN",
    "visual_attention": "BN",
    "last_prior": "BN",
    "text_prior": "BRN",
    "layer_change": "BN",
    "previous_scores": "BN",
}
"""Their axes: rows, heads, words, tokens, channels; M: tokens as they entered the language model."""


def inside(name: str, kind: str, x: Tensor, g: Generator) -> Tensor:
    """One of `INSIDE`, as awkward as features of that kind.

    Prompts have different numbers of words, or none, the same in all cues; where one is missing there are zeros.

    Args:
        name: which.
        kind: what the numbers look like.
        x: [B, N, C] the features.
        g: random numbers; those of one set of tokens share its seed.
    """
    words = 1 + g.initial_seed() % 3
    axes = INSIDE[name]
    sizes = dict(zip("BNCHRM", (*x.shape, 4, words, x.shape[1] + 2), strict=True))
    shape = tuple(sizes[axis] for axis in axes)
    if axes[-1] == "N":
        value = attention(kind, shape, x.dtype, g)
    else:
        value = features(kind, (shape[0], shape[1], shape[2]), x.dtype, g)
    if "R" in axes:
        own = torch.Generator().manual_seed(g.initial_seed())
        spoken = torch.arange(words) < torch.randint(0, words + 1, (len(x), 1), generator=own)  # [B, R]
        value = value.where(spoken.view([n if axis in "BR" else 1 for axis, n in zip(axes, shape, strict=True)]), 0)
    return value.to(x.device)

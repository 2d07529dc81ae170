"""How similar tokens are to words."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens

Over = Literal["mean", "max"]


def relevance(words: Tensor, unit: Tensor, valid: Tensor, over: Over, temperature: float | None) -> Tensor:
    """[B, N] cosines of tokens to words, over all words; zero where there is none.

    Args:
        words: [B, M, C] of any length; zero where a row has fewer.
        unit: [B, N, C] float32, tokens of norm one.
        valid: [B, N] bool.
        over: ``mean`` or ``max`` over the words.
        temperature: each word says softmax_n(cosine / temperature) instead. None: the cosines as they are.
    """
    direction, real = VisualTokens(words).unit, (words != 0).any(2)  # [B, M, C], [B, M]
    similar = direction @ unit.mT  # [B, M, N]
    if temperature is not None:
        similar = (similar / temperature).masked_fill(~valid[:, None], -torch.inf).softmax(2).nan_to_num(0)
    if over == "max":
        best = similar.masked_fill(~real[..., None], -torch.inf).amax(1)
        return best.masked_fill(~real.any(1, keepdim=True), 0)
    return similar.masked_fill(~real[..., None], 0).sum(1) / real.sum(1, keepdim=True).clamp(min=1)

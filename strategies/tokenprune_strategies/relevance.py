"""How similar tokens are to words."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens
from tokenprune_strategies.scaling import valid_of
from tokenprune_strategies.space import some_rows

Over = Literal["mean", "max"]


def relevance(
    tokens: VisualTokens, words: Tensor, images: Tensor | None, over: Over, temperature: float | None
) -> Tensor:
    """[B, N] cosines of tokens to words, over all words; zero where there is none.

    Args:
        tokens: B rows of N tokens.
        words: [B, M, C] of any length; zero where a row has fewer.
        images: [B, N, C] float32, vectors of norm one that stand for the tokens. None: their own.
        over: ``mean`` or ``max`` over the words.
        temperature: each word says softmax_n(cosine / temperature) instead. None: the cosines as they are.
    """
    direction, real = VisualTokens(words).unit, (words != 0).any(2)  # [B, M, C], [B, M]
    valid, found = valid_of(tokens), []
    for rows in some_rows(tokens, None):
        unit = tokens.unit_of(rows) if images is None else images[rows]
        found.append(_over(direction[rows] @ unit.mT, real[rows], valid[rows], over, temperature))
    return torch.cat(found)


def _over(similar: Tensor, real: Tensor, valid: Tensor, over: Over, temperature: float | None) -> Tensor:
    """[B, N] of the cosines [B, M, N] to words that are ``real`` [B, M]."""
    if temperature is not None:
        similar = (similar / temperature).masked_fill(~valid[:, None], -torch.inf).softmax(2).nan_to_num(0)
    if over == "max":
        best = similar.masked_fill(~real[..., None], -torch.inf).amax(1)
        return best.masked_fill(~real.any(1, keepdim=True), 0)
    return similar.masked_fill(~real[..., None], 0).sum(1) / real.sum(1, keepdim=True).clamp(min=1)

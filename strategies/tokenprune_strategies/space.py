"""The vectors whose cosine is compared, some rows at a time, and the most similar of some targets."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens, unit_vectors
from tokenprune_strategies.similarity import gather, groups

_CACHE = 6 * 2**20  # bytes: on a CPU vectors that stay in the cache are worth more than a large batch
_MEMORY = 2**29


def similarity_space(tokens: VisualTokens, by: str | None, rows: slice = slice(None)) -> Tensor:
    """[B, N, C] of norm one: the features of some rows, or the cue called ``by``, which is [B, C, N]."""
    if by is None:
        return tokens.unit_of(rows)
    return unit_vectors(tokens.cue(by)[rows], dim=1).mT


def some_rows(tokens: VisualTokens, by: str | None) -> Iterator[slice]:
    """Slices of rows whose vectors can be held at once."""
    width = tokens.features.shape[2] if by is None else tokens.cue(by).shape[1]
    limit = _CACHE if tokens.device.type == "cpu" else _MEMORY
    return groups(tokens.shape[0], 4 * tokens.shape[1] * width, limit)


def nearest(tokens: VisualTokens, by: str | None, targets: Tensor, counts: Tensor) -> Tensor:
    """[B, N] int64, the target most similar to each token; ties go to the lower index.

    Args:
        tokens: B rows of N tokens.
        by: the cue whose cosine is compared. None: the features.
        targets: [B, N] bool, at least one in each row that is read.
        counts: [B] int64, how many they are, on the host, so that no shape depends on the device.
    """
    sizes = counts.tolist()
    most = max([1, *sizes])
    order = targets.byte().argsort(dim=1, descending=True, stable=True)[:, :most]  # [B, T]
    if most == 1:
        return order.expand(-1, targets.shape[1])
    real, found = targets.gather(1, order)[:, None], []
    for rows in some_rows(tokens, by):
        vectors = similarity_space(tokens, by, rows)
        similar = vectors @ gather(vectors, order[rows]).mT  # [b, N, T]
        if min(sizes) < most:
            similar.masked_fill_(~real[rows], -torch.inf)
        found.append(order[rows].gather(1, similar.argmax(2)))
    return torch.cat(found)

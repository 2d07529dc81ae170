"""How densely tokens lie, and how far each is from a denser one (Rodriguez and Laio, Science 2014; k nearest: 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

import torch
from torch import Tensor

Blocks = Callable[[], Iterator[tuple[slice, Tensor]]]


def density(blocks: Blocks, valid: Tensor, nearest: int) -> Tensor:
    """[B, N] exp of minus the mean squared distance to the ``nearest`` others of the ``valid`` tokens [B, N].

    Args:
        blocks: yields (tokens, [B, M, N] their squared distances to all) until all tokens were there.
        valid: which there are; where a row has fewer others than ``nearest``, the mean is over those.
        nearest: how many.
    """
    found = []
    for part, square in blocks():
        apart = square.masked_fill(~valid[:, None], inf)
        apart.diagonal(part.start, 1, 2).fill_(inf)
        near = apart.topk(min(nearest, apart.shape[2]), dim=2, largest=False).values  # [B, M, K]
        real = near < inf
        found.append(-near.where(real, 0).sum(2) / real.sum(2).clamp(min=1))
    return torch.cat(found, 1).exp()


def prominence(blocks: Blocks, dense: Tensor, valid: Tensor, kept: Tensor) -> Tensor:
    """[B, N] distance to the nearest token that is denser, or kept; without one to the farthest of all.

    Args:
        blocks: as above.
        dense: [B, N]; of tokens equally dense the one of lower index counts as denser.
        valid: [B, N] bool.
        kept: [B, N] bool.
    """
    found, index = [], torch.arange(dense.shape[1], device=dense.device)
    for part, square in blocks():
        own, place = dense[:, part, None], index[part, None]
        above = (dense[:, None] > own) | ((dense[:, None] == own) & (index < place)) | kept[:, None]  # [B, M, N]
        near = square.masked_fill(~(above & valid[:, None]), inf).amin(2)
        far = square.masked_fill(~valid[:, None], 0).amax(2)
        found.append(near.where(near < inf, far))
    return torch.cat(found, 1).sqrt()

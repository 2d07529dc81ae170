"""Clusters around density peaks as SparseVLM makes them (ICML 2025, arXiv 2410.04417; Rodriguez and Laio 2014)."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from tokenprune.tokens import top
from tokenprune_strategies.similarity import cosines


def clusters(x: Tensor, real: Tensor, count: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
    """The peak that each vector goes to, [B, M] int64, and which are peaks, [B, M] bool.

    Peaks have the largest exp(-mean squared distance to the k nearest, itself among them) times the distance to the
    next denser one; of equals the lower index counts as denser, and the densest is as far as two vectors can be. Each
    vector goes to the nearest peak, and a peak to itself. Compared as logarithms, which do not underflow.

    Args:
        x: [B, M, C] float32; distances are Euclidean, divided by sqrt(C).
        real: [B, M] bool; others are padding.
        count: [B] int64 on the host, peaks of each row.
        nearest: [B] int64 on the host, k; where a row has fewer vectors, those.
    """
    square = _squares(x, real)
    index = torch.arange(x.shape[1], device=x.device)
    most = torch.minimum(nearest.to(x.device, non_blocking=True), real.sum(1)).clamp(min=1)[:, None, None]
    near = square.sort(dim=2).values.masked_fill(index >= most, 0).sum(2) / most[..., 0]  # [B, M], minus log density
    thick, thin = near[:, None], near[..., None]
    above = ((thick < thin) | ((thick == thin) & (index < index[:, None]))) & real[:, None]  # [B, M, M]
    away = square.where(above, square.masked_fill(square == inf, 0).amax((1, 2), keepdim=True)).amin(2)
    peak = top(away.log() / 2 - near, count, real)
    home = square.masked_fill(~peak[:, None], inf).argmin(2)
    return torch.where(peak, index, home), peak


def _squares(x: Tensor, real: Tensor) -> Tensor:
    """[B, M, M] squared distances over C, infinity to padding and to what has no finite distance."""
    product = cosines(x)
    own = product.diagonal(dim1=1, dim2=2)
    square = (own[:, None] + own[..., None] - 2 * product).clamp(min=0) / x.shape[2]
    return square.nan_to_num(inf, inf).masked_fill(~(real[:, None] & real[..., None]), inf)

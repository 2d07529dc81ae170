"""In how many directions the tokens of a row really point."""

from __future__ import annotations

import torch
from torch import Tensor


def effective_rank(unit: Tensor) -> Tensor:
    """exp of the entropy of the singular values, scaled to sum to one (Roy and Vetterli, EUSIPCO 2007).

    Cost: one product of all pairs and its eigenvalues, min(N, C)^3; a GPU's solver may make the host wait.

    Args:
        unit: [B, N, C] float32; rows of zeros count for nothing.

    Returns:
        [B, 1] from 1 to min(N, C); 1 where everything is zero.
    """
    side = unit if unit.shape[1] <= unit.shape[2] else unit.mT
    gram = torch.bmm(side, side.mT, out=side.new_empty(len(side), side.shape[1], side.shape[1]))
    square = torch.linalg.eigvalsh(gram)  # [B, min(N, C)], ascending
    noise = square[:, -1:] * square.shape[1] * torch.finfo(square.dtype).eps
    values = square.where(square > noise, 0).sqrt()
    share = values / values.sum(1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    entropy: Tensor = torch.special.entr(share).sum(1, keepdim=True)
    return entropy.exp()

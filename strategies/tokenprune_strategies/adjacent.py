"""Which tokens lie beside which."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens


def adjacent(tokens: VisualTokens, marked: Tensor) -> Tensor:
    """[B, N] bool, tokens with a ``marked`` [B, N] one of their row beside, above or below; without places none."""
    if tokens.place is None or tokens.canvas is None:
        return torch.zeros_like(marked)
    rows = int(tokens.group.bincount().max()) if len(tokens.group) else 1  # a map holds the tokens of its rows, no more
    size = rows * tokens.shape[1]
    canvas = tokens.canvas[:, None]  # [B, 1, 2]
    where = torch.zeros(len(marked), size + 1, dtype=torch.bool, device=marked.device)
    where.scatter_(1, _cell(tokens.place, canvas, size).masked_fill(~marked, size), True)
    where[:, size] = False
    steps = torch.tensor([(-1, 0), (1, 0), (0, -1), (0, 1)]).to(marked.device, non_blocking=True)
    beside = tokens.place[:, :, None] + steps  # [B, N, 4, 2]
    within = ((beside >= 0) & (beside < canvas[:, None])).all(3)
    cell = _cell(beside, canvas[:, None], size).masked_fill(~within, size)  # [B, N, 4]
    return where.gather(1, cell.flatten(1)).view(cell.shape).any(2)


def _cell(place: Tensor, canvas: Tensor, size: int) -> Tensor:
    """[...] number of the cell at ``place`` [..., 2], ``size`` at most."""
    return (place[..., 0] * canvas[..., 1] + place[..., 1]).clamp(0, size)

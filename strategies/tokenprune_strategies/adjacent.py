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
    found = torch.zeros_like(marked)
    for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        beside = tokens.place + torch.tensor(step).to(marked.device, non_blocking=True)  # [B, N, 2]
        within = ((beside >= 0) & (beside < canvas)).all(2)
        found |= where.gather(1, _cell(beside, canvas, size).masked_fill(~within, size))
    return found


def _cell(place: Tensor, canvas: Tensor, size: int) -> Tensor:
    """[B, N] number of the cell at ``place`` [B, N, 2], ``size`` at most."""
    return (place[..., 0] * canvas[..., 1] + place[..., 1]).clamp(0, size)

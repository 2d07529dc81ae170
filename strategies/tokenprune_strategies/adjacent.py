"""Which tokens lie beside which."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens
from tokenprune_strategies.similarity import gather

_FEW = 8  # marked tokens of a row; so few are compared with every token, which takes fewer steps


def adjacent(tokens: VisualTokens, marked: Tensor, most: int) -> Tensor:
    """[B, N] bool, tokens with a ``marked`` [B, N] one of their row beside, above or below; without places none.

    Args:
        tokens: B rows of N tokens, whose places lie on their canvas.
        marked: [B, N] bool, at most ``most`` in each row.
        most: on the host, so that four cells of each marked one are looked at, and not of every token.
    """
    if tokens.place is None or tokens.canvas is None or not most:
        return torch.zeros_like(marked)
    found = marked.byte().topk(most)  # [B, M], the marked ones and some others
    real, near = found.values.bool(), gather(tokens.place, found.indices)
    if most <= _FEW:
        (y, x), (row, column) = tokens.place.unbind(-1), near[..., None].unbind(-2)  # [B, N], [B, M, 1]
        apart = (y[:, None] - row).abs_().add_((x[:, None] - column).abs_())  # [B, M, N]
        return (apart == 1).logical_and_(real[..., None]).any(1)
    rows = int(tokens.group.bincount().max()) if len(tokens.group) else 1  # a map holds the tokens of its rows, no more
    size = 3 * rows * tokens.shape[1] + 6  # of a map with a margin of one cell, at most
    steps = torch.tensor([(-1, 0), (1, 0), (0, -1), (0, 1)]).to(marked.device, non_blocking=True)
    beside = (near[:, :, None] + steps).flatten(1, 2)  # [B, 4 M, 2]
    where = torch.zeros(len(marked), size + 1, dtype=torch.bool, device=marked.device)
    where.scatter_(1, _cell(beside, tokens.canvas, size).masked_fill(~real.repeat_interleave(4, 1), size), True)
    where[:, size] = False
    return where.gather(1, _cell(tokens.place, tokens.canvas, size))


def _cell(place: Tensor, canvas: Tensor, size: int) -> Tensor:
    """[B, M] number of the cell at ``place`` [B, M, 2] of a map with a margin; ``size`` outside that."""
    (y, x), (height, width) = place.unbind(-1), canvas[..., None].unbind(1)  # [B, M], [B, 1]
    within = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    return ((y + 1) * (width + 2) + x + 1).where(within, size).clamp(max=size)

"""Evenly spread tokens: the control that knows nothing of the image."""

from typing import final

import torch
from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens

_PLASTIC = 1.3247179572447460  # the R2 sequence of M. Roberts (2018): the golden ratio's analogue in two dimensions
_GOLDEN = 1.6180339887498949


@final
class Uniform(Scorer):
    """Tokens ranked by when a low-discrepancy sequence first meets them, so that ANY budget is spread evenly.

    On a map the sequence has two dimensions; tokens without geometry are spread along their order.
    """

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32: minus the step at which the token was met."""
        batch, count = tokens.shape
        rows = int(tokens.group.bincount().max()) if batch else 1  # a map holds the tokens of its rows, and no more
        steps = 8 * max(rows * count, 1)
        step = torch.arange(1, steps + 1, device=tokens.device, dtype=torch.float64)
        if tokens.place is None or tokens.canvas is None:
            met = ((0.5 + step / _GOLDEN) % 1 * count).long().expand(batch, -1)  # [B, S]
            return self._when(met, torch.arange(count, device=tokens.device).expand(batch, -1), count)
        height, width = tokens.canvas[:, :1], tokens.canvas[:, 1:]  # [B, 1]
        row = ((0.5 + step / _PLASTIC**2) % 1 * height).long()
        met = row * width + ((0.5 + step / _PLASTIC) % 1 * width).long()  # [B, S]
        cells = tokens.place[..., 0] * width + tokens.place[..., 1]  # [B, N]
        return self._when(met, cells, rows * count)

    def _when(self, met: Tensor, cells: Tensor, size: int) -> Tensor:
        """The step at which each of ``cells`` [B, N] first occurs in ``met`` [B, S], negated."""
        step = torch.arange(met.shape[1], device=met.device, dtype=torch.float32).expand_as(met)
        first = torch.full((len(met), size + 1), float(met.shape[1]), device=met.device)
        first = first.scatter_reduce(1, met.clamp(max=size), step, "amin")
        return -first.gather(1, cells.clamp(0, size))

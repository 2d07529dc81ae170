"""Tokens are averaged over cells of equal size (LLaVolta, arXiv 2406.20092): the control that loses no token."""

from typing import Literal, final

import torch
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.folding import edges, free_tokens


@final
class Pooling(Merger):
    """The tokens that nobody chose, cut into as many cells as there are carriers; a cell's middle token is its mean.

    The count is exact: sizes of cells differ by one where it does not divide. Cost: one sort.

    Args:
        dims: 1: runs in reading order, as LLaVolta pools. 2: blocks of the map, read in bands that turn at each end, so
            that cells are rectangles where the sides divide, and never torn; without places as 1.
    """

    dims: Literal[1, 2] = 1

    def merge(self, tokens: VisualTokens, scores: Tensor, selection: Selection, split: Split) -> Merge:
        """One edge a token."""
        free = free_tokens(tokens, selection)
        size = (
            (tokens.counts - split.important - split.diverse).clamp(min=1).to(free.device, non_blocking=True)[:, None]
        )
        cells = split.merged.to(free.device, non_blocking=True)[:, None]
        line = self._line(tokens, split).masked_fill(~free, torch.iinfo(torch.int64).max)
        order = line.argsort(dim=1, stable=True)  # [B, N]
        steps = torch.arange(tokens.shape[1], device=free.device).expand(tokens.shape)
        rank = torch.empty_like(order).scatter_(1, order, steps)
        some = cells.clamp(min=1)
        cell = rank * some // size
        first, last = -(-cell * size // some), -(-(cell + 1) * size // some) - 1
        middle = order.gather(1, ((first + last) // 2).clamp(0, tokens.shape[1] - 1))
        comes = free & (cells > 0)
        into = torch.where(comes, middle, steps)
        return edges(comes & (into == steps), into, comes.float(), mean=True)

    def _line(self, tokens: VisualTokens, split: Split) -> Tensor:
        """[B, N] int64, where each token comes in the order that is cut."""
        if self.dims == 1 or tokens.place is None or tokens.canvas is None:
            return torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        (y, x), (height, width) = tokens.place.unbind(-1), tokens.canvas[..., None].unbind(1)  # [B, N], [B, 1]
        cells = split.merged.to(y.device, non_blocking=True)[:, None]
        bands = (cells * height / width).sqrt().round().long().clamp(min=1)
        band = y * bands // height
        return (band * width + torch.where(band % 2 == 0, x, width - 1 - x)) * height + y

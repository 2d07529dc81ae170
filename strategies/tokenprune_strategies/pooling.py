"""Tokens are averaged over cells of equal size (LLaVolta, arXiv 2406.20092): the control that loses no token."""

from typing import Literal, final

import torch
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.folding import edges, free_tokens
from tokenprune_strategies.runs import alike, in_line, middles


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
        held, runs, line = split.important + split.diverse, split.merged, self._line(tokens, split)
        if line is None and tokens.valid is None and not held.any() and len(runs) and 0 < runs.min() == runs.max():
            return alike(*tokens.shape, int(runs[0]), tokens.device)
        free, size = free_tokens(tokens, selection), (tokens.counts - held).clamp(min=1)
        into = middles(*in_line(free, line), size[:, None], runs[:, None])
        comes = free & (runs[:, None] > 0).to(free.device, non_blocking=True)
        here = torch.arange(tokens.shape[1], device=free.device)
        into = torch.where(comes, into, here)
        return edges(comes & (into == here), into, comes.float(), mean=True)

    def _line(self, tokens: VisualTokens, split: Split) -> Tensor | None:
        """[B, N] int64, where each token comes in the order that is cut; None: as they are."""
        if self.dims == 1 or tokens.place is None or tokens.canvas is None:
            return None
        (y, x), (height, width) = tokens.place.unbind(-1), tokens.canvas[..., None].unbind(1)  # [B, N], [B, 1]
        cells = split.merged.to(y.device, non_blocking=True)[:, None]
        bands = (cells * height / width).sqrt().round().long().clamp(min=1)
        band = y * bands // height
        return (band * width + torch.where(band % 2 == 0, x, width - 1 - x)) * height + y

"""Dropped tokens are folded into the best one of their cell of the map (the recycling of VFlowOpt, ICCV 2025)."""

from typing import Literal, final

import torch
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.tokens import VisualTokens, top
from tokenprune_strategies.cells import heads, numbered, ranks
from tokenprune_strategies.folding import edges, free_tokens


@final
class GridCell(Merger):
    """The map is cut into cells of m x m, m = sqrt(N / carriers); a cell's dropped tokens become one, at its best.

    Its content is their mean, weighted by score. If more cells hold dropped tokens than there are carriers, those with
    the best tokens are taken and the others' are lost; if fewer, the best of the rest stay as they are. Tokens without
    places are cut into runs. VFlowOpt: arXiv 2508.05211. Cost: two sorts.

    Args:
        weights: ``scores``, of which those below zero weigh next to nothing; or ``mean``.
    """

    weights: Literal["scores", "mean"] = "scores"

    def merge(self, tokens: VisualTokens, scores: Tensor, selection: Selection, split: Split) -> Merge:
        """One edge a token."""
        free = free_tokens(tokens, selection)
        head = heads(numbered(self._cells(tokens, split), free), scores, free)
        here = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        first = (head == here) & free  # [B, N] the best of their cells
        carriers = top((first * tokens.shape[1] - ranks(scores)[1]).float(), split.merged, free)
        comes = free & carriers.gather(1, head) & ~carriers
        into = torch.where(comes, head, here)
        part = (comes | carriers).float()
        if self.weights == "scores":
            part = part * scores.nan_to_num(0, 0, 0).clamp(min=torch.finfo(torch.float32).tiny)
        return edges(carriers, into, part, mean=True)

    def _cells(self, tokens: VisualTokens, split: Split) -> Tensor:
        """[B, N] int64, a label for each cell."""
        area = (tokens.counts / split.merged.clamp(min=1)).clamp(min=1).to(tokens.device, non_blocking=True)[:, None]
        if tokens.place is None or tokens.canvas is None:
            return (torch.arange(tokens.shape[1], device=tokens.device) / area).long()
        y, x = (tokens.place / area[..., None].sqrt()).long().unbind(-1)
        return y * (tokens.canvas[:, 1:] + 1) + x

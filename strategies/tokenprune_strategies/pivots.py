"""Tokens that are unlike a few pivots (DART, EMNLP 2025, arXiv 2502.11494)."""

from math import inf
from typing import final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.selection import Split
from tokenprune.strategy import Diversifier
from tokenprune.tokens import VisualTokens, ranking
from tokenprune_strategies.similarity import gather


@final
class Pivots(Diversifier):
    """Each pivot, by falling score, takes an even share of the tokens of lowest cosine to it, those not taken yet.

    Pivots are the tokens of highest score; those that are not kept yet are chosen first. A share that does not divide
    gives the first pivots one more; ties go to the lower index. Cost: one product of the pivots with all tokens.

    Args:
        pivots: how many; the authors take four of the image and four of the text, by the norm of their keys.
    """

    pivots: int = Field(default=8, ge=1)

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        if not split.diverse.any():
            return torch.zeros_like(kept)
        valid = torch.ones_like(kept) if tokens.valid is None else tokens.valid
        pivots = ranking(scores.detach(), valid)[:, : self.pivots]  # [B, P], not valid where a row has fewer tokens
        count = split.diverse.to(kept.device, non_blocking=True)[:, None]  # [B, 1]
        new = (valid & ~kept).gather(1, pivots)
        new &= new.cumsum(1) <= count  # [B, P]
        chosen = torch.zeros_like(kept).scatter(1, pivots, new)
        each, left = valid.gather(1, pivots).sum(1, keepdim=True).clamp(min=1), count - new.sum(1, keepdim=True)
        unit, closed = tokens.unit.detach(), kept | ~valid | chosen
        rows = unit.new_empty(len(unit), pivots.shape[1], unit.shape[1])
        torch.bmm(gather(unit, pivots), unit.mT, out=rows)  # [B, P, N]
        for nth, row in enumerate(rows.unbind(1)):
            share = left // each + (nth < left % each)  # [B, 1]
            rank = row.masked_fill(closed, inf).argsort(dim=1, stable=True).argsort(dim=1)
            chosen, closed = chosen | (rank < share), closed | (rank < share)
        return chosen

"""Dropped tokens are folded into the means of their clusters (VMTC, arXiv 2411.15453; from the paper alone)."""

from typing import final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.cells import means_at
from tokenprune_strategies.folding import edges, evenly, free_tokens
from tokenprune_strategies.space import similarity_space, some_rows


@final
class KMeans(Merger):
    """Lloyd's rounds on the unit vectors of the tokens that nobody chose; each cluster becomes its mean.

    Seeds are spread evenly over those tokens, in their order, and never leave their cluster: so no cluster is empty,
    the count is exact, and a cluster's token stands where its seed stood. Cost: tokens by clusters a round.

    Args:
        rounds: how often centres move before the last assignment.
        by: the cue that is clustered, such as ``mean_keys``. None: the features.
    """

    rounds: int = Field(default=10, ge=0)
    by: str | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The cue that is clustered."""
        return frozenset() if self.by is None else frozenset({self.by})

    def merge(self, tokens: VisualTokens, scores: Tensor, selection: Selection, split: Split) -> Merge:
        """One edge a token."""
        free = free_tokens(tokens, selection)
        carriers = evenly(free, tokens, split)
        most = max(1, max(split.merged.tolist(), default=1))
        seeds = carriers.byte().argsort(dim=1, descending=True, stable=True)[:, :most]  # [B, T]
        parts = some_rows(tokens, self.by)  # whose vectors stay in a CPU's cache for all rounds
        near = [self._slots(similarity_space(tokens, self.by, at), seeds[at], carriers[at], free[at]) for at in parts]
        comes = free & carriers.any(1, keepdim=True)
        here = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        return edges(carriers, torch.where(comes, seeds.gather(1, torch.cat(near)), here), comes.float(), mean=True)

    def _slots(self, x: Tensor, seeds: Tensor, carriers: Tensor, free: Tensor) -> Tensor:
        """[B, N] which of the ``seeds`` [B, T] has the cluster of each of the vectors [B, N, C]."""
        real, number, most = carriers.gather(1, seeds), carriers.cumsum(1) - 1, seeds.shape[1]
        centres = x.gather(1, seeds[..., None].expand(-1, -1, x.shape[2]))  # [B, T, C]
        for turn in range(self.rounds + 1):
            near = x @ centres.mT - centres.square().sum(2)[:, None] / 2  # [B, N, T]
            slot = torch.where(carriers, number, near.masked_fill(~real[:, None], -torch.inf).argmax(2))
            if turn < self.rounds:
                centres = means_at(x, torch.where(free, slot, most), most)
        return slot

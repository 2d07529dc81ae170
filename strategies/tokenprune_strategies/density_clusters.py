"""The best of the dropped tokens are folded into the middles of their clusters (SparseVLM's recycling, ICML 2025)."""

from typing import final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.tokens import VisualTokens, ranking
from tokenprune_strategies.folding import edges, free_tokens
from tokenprune_strategies.peaks import clusters
from tokenprune_strategies.similarity import gather


@final
class DensityClusters(Merger):
    """Clusters around density peaks become their mean; a cluster's token stands where its peak stood.

    Clustered are the tokens of highest score among those that nobody chose, ``share`` of them, rounded down, and one
    more; the others are lost. SparseVLM (arXiv 2410.04417) makes a tenth as many clusters, rounded down, and one more;
    here there are as many as the budget has carriers. Cost: one product of all pairs of what is clustered.

    Args:
        share: of the tokens that nobody chose; never fewer than carriers.
        nearest: how many distances make a density, a token's own zero among them. None: as many as there are clusters,
            as released.
        by: the cue that is clustered, such as ``keys``. None: the features.
    """

    share: float = Field(default=0.3, ge=0, le=1)
    nearest: int | None = Field(default=None, ge=1)
    by: str | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The cue that is clustered."""
        return frozenset() if self.by is None else frozenset({self.by})

    def merge(self, tokens: VisualTokens, scores: Tensor, selection: Selection, split: Split) -> Merge:
        """One edge a token."""
        left = (tokens.counts - split.important - split.diverse).tolist()
        wish = [max(int(self.share * n) + 1, own) for n, own in zip(left, split.merged.tolist(), strict=True)]
        counts = [min(one, n) for one, n in zip(wish, left, strict=True)]
        order = ranking(scores, free_tokens(tokens, selection))[:, : max(1, max(counts, default=1))]  # [B, M]
        size = torch.tensor(counts).to(order.device, non_blocking=True)[:, None]
        real = torch.arange(order.shape[1], device=order.device) < size  # [B, M]
        x = tokens.features if self.by is None else tokens.cue(self.by).mT
        nearest = split.merged if self.nearest is None else torch.full_like(split.merged, self.nearest)
        home, peak = clusters(gather(x, order).float(), real, split.merged, nearest)
        none = torch.zeros(tokens.shape, dtype=torch.bool, device=order.device)
        here = torch.arange(tokens.shape[1], device=order.device).expand(tokens.shape)
        into = here.scatter(1, order, torch.where(real, order.gather(1, home), order))
        comes = none.scatter(1, order, real & peak.any(1, keepdim=True))
        return edges(none.scatter(1, order, peak), into, comes.float(), mean=True)

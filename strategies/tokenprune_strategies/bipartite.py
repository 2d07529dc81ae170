"""Bipartite soft matching (ToMe, ICLR 2023, arXiv 2210.09461), once, outside the encoder."""

from typing import final

import torch
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.folding import edges, free_tokens
from tokenprune_strategies.matching import Matching
from tokenprune_strategies.space import similarity_space


@final
class Bipartite(Merger):
    """Rounds of: tokens at even places, each with the most similar at an odd place; the best pairs become their mean.

    Rounds go on until as many are left as there are carriers; each halves what is left at most. Means are weighted by
    size, so in the end each is the mean of all tokens in it, and stands where the last odd one stood. ToMe itself
    merges in every layer of the encoder and lets attention see the sizes; here neither happens. Cost: one product of
    half the tokens by the other half a round.

    Args:
        by: the cue that is compared, such as ``mean_keys``. None: the features.
    """

    by: str | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The cue that is compared."""
        return frozenset() if self.by is None else frozenset({self.by})

    def merge(self, tokens: VisualTokens, scores: Tensor, selection: Selection, split: Split) -> Merge:
        """One edge a token."""
        free = free_tokens(tokens, selection)
        left = (tokens.counts - split.important - split.diverse).where(split.merged > 0, 0)
        matching = Matching(similarity_space(tokens, self.by).detach(), free)
        while (more := left - split.merged).any():
            pairs = more.minimum(left // 2)
            matching.round(left, pairs)
            left = left - pairs
        comes = free & (split.merged > 0).to(free.device, non_blocking=True)[:, None]
        here = torch.arange(tokens.shape[1], device=free.device).expand(tokens.shape)
        into = torch.where(comes, matching.into, here)
        return edges(comes & (into == here), into, comes.float(), mean=True)

"""Dropped tokens are folded into the most similar token that stays (VisionZip, CVPR 2025, arXiv 2412.04467)."""

from typing import Literal, final

import torch
from torch import Tensor

from tokenprune.selection import Merge, Selection, Split
from tokenprune.strategy import Merger
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.folding import edges, evenly, free_tokens, total_at
from tokenprune_strategies.space import nearest


@final
class Nearest(Merger):
    """Each token that nobody chose goes to the target with the largest cosine. Cost: one product, tokens by targets.

    Args:
        targets: ``carriers``, which are every so manieth of the tokens that nobody chose; ``kept``, the tokens that
            stay anyway; or ``both``.
        weights: ``mean`` of the target and all that go there; ``sum`` of the target and the mean of the others, as
            VisionZip has it, about twice as long; ``scores``: the mean weighted by score.
        by: the cue whose cosine is compared, [B, d, N], such as the keys of an attention layer. None: the features.
    """

    targets: Literal["carriers", "kept", "both"] = "carriers"
    weights: Literal["mean", "sum", "scores"] = "sum"
    by: str | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The cue that is compared."""
        return frozenset() if self.by is None else frozenset({self.by})

    def merge(self, tokens: VisualTokens, scores: Tensor, selection: Selection, split: Split) -> Merge:
        """One edge a token."""
        free = free_tokens(tokens, selection)
        carriers = evenly(free, tokens, split)
        leaves, targets, counts = free & ~carriers, carriers, split.merged
        if self.targets == "kept":
            targets, counts = selection.mask, split.important + split.diverse
        if self.targets == "both":
            targets, counts = carriers | selection.mask, split.total
        here = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        into = nearest(tokens, self.by, targets, counts)
        into = torch.where(leaves, into, here)
        comes = leaves & targets.any(1, keepdim=True)  # [B, N]
        return edges(carriers, into, self._weight(comes, targets, into, scores))

    def _weight(self, comes: Tensor, targets: Tensor, into: Tensor, scores: Tensor) -> Tensor:
        """[B, N] zero where a token neither goes anywhere nor is a target."""
        if self.weights == "sum":
            return torch.where(comes, comes / total_at(into, comes.float()).clamp(min=1), targets.float())
        part = (comes | targets).float()
        if self.weights == "scores":
            part = part * scores.nan_to_num(0, 0, 0).clamp(min=torch.finfo(torch.float32).tiny)
        return part / total_at(into, part).clamp(min=torch.finfo(torch.float32).tiny)

"""Tokens in the middle of clusters (DPC-kNN, as in FastVID, arXiv 2503.11187, and SparseVLM, ICML 2025)."""

from collections.abc import Iterator
from typing import final

import torch
from pydantic import Field
from torch import Tensor

from tokenprune.selection import Split
from tokenprune.strategy import Diversifier
from tokenprune.tokens import VisualTokens, top
from tokenprune_strategies.density import density, prominence
from tokenprune_strategies.similarity import blocks, groups

_MEMORY = 2**27  # bytes of similarities at a time; several tensors of this size are in use at once


@final
class DensityPeaks(Diversifier):
    """Chosen are the tokens of largest density times distance to a denser one, or to a kept one.

    Density is exp(-mean squared distance to the k nearest others), distance the chord |u_i - u_j| of unit vectors. The
    densest token's is that to the farthest of all; of equals the lower index counts as denser, so that all repetitions
    but one come last. Cost: one product of all pairs; twice where it does not fit into memory.

    Args:
        nearest: k.
    """

    nearest: int = Field(default=5, ge=1)

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        if not split.diverse.any():
            return torch.zeros_like(kept)
        valid = torch.ones_like(kept) if tokens.valid is None else tokens.valid
        rows = groups(len(kept), 4 * tokens.shape[1] ** 2, _MEMORY)
        found = torch.cat([self._peaks(tokens.unit_of(part).detach(), valid[part], kept[part]) for part in rows])
        return top(found, split.diverse, valid & ~kept)

    def _peaks(self, unit: Tensor, valid: Tensor, kept: Tensor) -> Tensor:
        """[B, N] density times distance."""

        def squares() -> Iterator[tuple[slice, Tensor]]:
            return ((part, (2 - 2 * cosine).clamp(min=0)) for part, cosine in parts())

        parts = blocks(unit, _MEMORY)
        dense = density(squares, valid, self.nearest)
        return dense * prominence(squares, dense, valid, kept)

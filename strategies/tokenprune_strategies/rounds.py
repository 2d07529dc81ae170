"""The rounds in which pivots take the tokens that are unlike them (DART, EMNLP 2025, arXiv 2502.11494)."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from tokenprune.errors import PipelineError
from tokenprune.tokens import VisualTokens, ranking
from tokenprune_strategies.similarity import gather


def rounds(unit: Tensor, pivots: Tensor, real: Tensor, left: Tensor, closed: Tensor, whole: bool = True) -> Tensor:
    """[B, N] bool, what the pivots take in turn: each an even share of those least like it.

    Args:
        unit: [B, N, C] float32, vectors of norm one or zero.
        pivots: [B, P, C] likewise, in the order in which they take.
        real: [B, P] bool, the pivots that there are, before those that fill up a row.
        left: [B, 1] int64, how many tokens there are to take.
        closed: [B, N] bool, tokens that are not.
        whole: the first pivots take one more where it does not divide; if not, what is over is left.
    """
    like = unit.new_empty(len(unit), pivots.shape[1], unit.shape[1])
    torch.bmm(pivots, unit.mT, out=like)  # [B, P, N]; autocast leaves alone what is written into ``out``
    each, turn, taken = real.sum(1, keepdim=True).clamp(min=1), real.cumsum(1) - 1, torch.zeros_like(closed)
    for nth, row in enumerate(like.unbind(1)):
        share = left // each + ((turn[:, nth, None] < left % each) if whole else 0)  # [B, 1]
        rank = row.masked_fill(closed | taken, inf).argsort(dim=1, stable=True).argsort(dim=1)
        taken |= (rank < share) & real[:, nth, None] & ~closed
    return taken


def words(tokens: VisualTokens, layer: str, most: int, vectors: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Pivots ``vectors`` [B, P, C] and ``real`` [B, P], and after them ``most`` words by the L1 norm of their keys.

    Raises:
        PipelineError: the words are of another width.
    """
    states = tokens.cue("text_states")  # [B, R, C]
    if states.shape[2] != vectors.shape[2]:
        raise PipelineError(
            f"words are {states.shape[2]} wide and tokens {vectors.shape[2]}, which do not compare; "
            "take words as pivots inside the language model"
        )
    there = (states != 0).any(2)
    order = ranking(tokens.cue(f"text_keys@{layer}").float().norm(p=1, dim=2), there)[:, :most]
    more = gather(VisualTokens(states).unit, order)
    return torch.cat([vectors, more], 1), torch.cat([real, there.gather(1, order)], 1)

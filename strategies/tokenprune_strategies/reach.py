"""How well each token covers the others, and what else there is to cover."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from tokenprune.errors import PipelineError
from tokenprune_strategies.similarity import cosines

_PART = 2**26  # bytes of a softmax at a time


def reach(unit: Tensor, valid: Tensor | None, temperature: float | None) -> Tensor:
    """[B, N, N] cosines of [B, N, C], or with a ``temperature`` their softmax over ``valid`` tokens, axis 1."""
    found = cosines(unit)
    return found if temperature is None else _shares(found, valid, temperature)


def with_more(
    own: Tensor, unit: Tensor, more: Tensor, valid: Tensor | None, temperature: float, weight: float
) -> tuple[Tensor, Tensor]:
    """The means of two coverages side by side: of the tokens themselves, and ``weight`` times that of ``more``.

    Args:
        own: [B, N, N] from `reach`; it is written to.
        unit: [B, N, C] float32, vectors of norm one or zero, in the space of ``more``.
        more: [B, M, C] of any length; zero vectors are padding and do not count.
        valid: [B, N] bool, the tokens that there are; None: all.
        temperature: of the softmax over tokens of their cosines to ``more``.
        weight: of all M together.

    Returns:
        [B, N, N + M] float32, and [B, N + M] bool, which of these count.
    """
    if more.shape[2] != unit.shape[2]:
        told = f"what is to be covered is {more.shape[2]} wide and tokens {unit.shape[2]}, which do not compare"
        raise PipelineError(f"{told}; write cover_space: projected")
    length = more.float().norm(dim=2, keepdim=True)
    direction = (more.float() / length).nan_to_num(0, 0, 0)  # [B, M, C]
    found = torch.bmm(unit, direction.mT, out=unit.new_empty(len(unit), unit.shape[1], more.shape[1]))
    there, counted = own.new_ones(own.shape[:2]).bool() if valid is None else valid, (direction != 0).any(2)
    own /= there.sum(1).clamp(min=1)[:, None, None]
    each = weight / counted.sum(1).clamp(min=1)  # [B]
    found = _shares(found, valid, temperature).mul_(each[:, None, None])
    return torch.cat([own, found], 2), torch.cat([there, counted], 1)


def _shares(found: Tensor, valid: Tensor | None, temperature: float) -> Tensor:
    """Turn [B, N, R] cosines into their softmax over the second axis, in place; what is not valid has none."""
    each = max(1, _PART // max(1, 4 * len(found) * found.shape[1]))
    for part in torch.split(found, each, 2):
        warm = part / temperature
        if valid is not None:
            warm = warm.masked_fill(~valid[:, :, None], -inf)
        part.copy_(warm.softmax(1).nan_to_num_(0))  # not a number where nothing is valid
    return found

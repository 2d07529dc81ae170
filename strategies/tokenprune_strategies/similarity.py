"""Cosine similarity of all pairs of tokens, and the loop that picks tokens that lie far apart; batched over rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

import torch
from torch import Tensor

MATRIX = 2**28  # bytes of similarities that `far_apart` keeps; of larger matrices it computes the rows that it needs
_BLOCK = 256  # tokens; smaller products are not worth halving


def groups(batch: int, size: int, limit: int) -> Iterator[slice]:
    """Slices of rows that need at most ``limit`` bytes together, ``size`` each; one slice and one row at least."""
    each = max(1, limit // max(1, size))
    return (slice(first, first + each) for first in range(0, max(1, batch), each))


def base(values: Tensor) -> Tensor:
    """[B, 1] where each row of [B, N, ...] begins when its first two axes are one."""
    return torch.arange(len(values), device=values.device)[:, None] * values.shape[1]


def gather(values: Tensor, index: Tensor) -> Tensor:
    """[B, N, C] at [B, M] -> [B, M, C]; copies whole vectors, which is much faster than `torch.gather`."""
    if not values.is_contiguous():  # flattening would copy all of it
        return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))
    return values.flatten(0, 1).index_select(0, (index + base(values)).flatten()).view(*index.shape, values.shape[2])


def mask(index: Tensor, counts: list[int], size: int) -> Tensor:
    """[B, size] bool, true at the first ``counts[b]`` of ``index[b]`` [B, M]; what follows them may repeat."""
    if min(counts) < index.shape[1]:
        rank = torch.arange(index.shape[1], device=index.device)
        count = torch.tensor(counts).to(index.device, non_blocking=True)[:, None]  # [B, 1]
        index = index.masked_fill(rank >= count, size)
    marks = torch.zeros(len(index), size + 1, dtype=torch.bool, device=index.device)
    return marks.scatter_(1, index, True)[:, :size]


def cosines(unit: Tensor) -> Tensor:
    """[B, N, N] products of all pairs of [B, N, C]; each pair is computed once, so that it is symmetric to the bit."""
    found = unit.new_empty(len(unit), unit.shape[1], unit.shape[1])
    _fill(found, unit)
    return found


def _fill(found: Tensor, unit: Tensor) -> None:
    """Write the products into ``found``: two halves by themselves, and across once for both sides of the diagonal."""
    half = unit.shape[1] // 2
    if half < _BLOCK // 2:
        torch.bmm(unit, unit.mT, out=found)
        return
    _fill(found[:, :half, :half], unit[:, :half])
    _fill(found[:, half:, half:], unit[:, half:])
    torch.bmm(unit[:, half:], unit[:, :half].mT, out=found[:, half:, :half])
    found[:, :half, half:] = found[:, half:, :half].mT


def _products(some: Tensor, unit: Tensor) -> Tensor:
    """[B, M, N] products of [B, M, C] and [B, N, C]; autocast leaves alone what is written into ``out``, as above."""
    return torch.bmm(some, unit.mT, out=unit.new_empty(len(unit), some.shape[1], unit.shape[1]))


def far_apart(
    unit: Tensor, count: int, pool: Tensor | None = None, kept: Tensor | None = None, spent: float = inf
) -> Tensor:
    """Pick tokens one by one, each as dissimilar as can be from those picked before (DivPrune, arXiv 2503.02175).

    The first is the token whose nearest other is farthest, unless its row has ``kept`` ones to be far from.

    Args:
        unit: [B, N, C] float32, vectors of norm one or zero.
        count: picks in each row; those after a row has run out of tokens mean nothing.
        pool: [B, N] bool, the tokens to pick from. None: all but the kept ones.
        kept: [B, N] bool, tokens that are kept already, none of them in the pool. None: none.
        spent: what a picked token's similarity to itself is taken for; infinity: it is not picked again.

    Returns:
        [B, count] int64 in the order of the picks; ties go to the lower index.
    """
    if kept is None:
        nearest, matrix = _nearest(unit, pool)  # [B, N], [B * N, N]
        closest = torch.full_like(nearest, -inf)
    else:
        held, pool = kept.any(1, keepdim=True), ~kept if pool is None else pool  # [B, 1], [B, N]
        nearest, matrix = _nearest(unit, torch.where(held, kept, pool))
        closest = nearest.masked_fill(~held, -inf)
    if pool is not None:
        nearest, closest = nearest.masked_fill(~pool, inf), closest.masked_fill(~pool, inf)
    return _pick(unit, matrix, closest, nearest.argmin(1, keepdim=True), count, spent)


def _pick(unit: Tensor, matrix: Tensor | None, closest: Tensor, pick: Tensor, count: int, spent: float) -> Tensor:
    """[B, count] picks, from ``pick`` [B, 1] on; ``closest`` [B, N] is how similar each token is to any kept one."""
    first, picks = base(unit), []
    for _ in range(count):
        picks.append(pick)
        if matrix is None:
            similar = _products(gather(unit, pick), unit)[:, 0]  # [B, N]
        else:
            similar = matrix.index_select(0, (pick + first)[:, 0])
        closest = torch.maximum(closest, similar).scatter_(1, pick, spent)
        pick = closest.argmin(1, keepdim=True)
    return torch.cat(picks, 1)


def _nearest(unit: Tensor, among: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """[B, N] similarity of every token to the nearest other of ``among`` [B, N]; and [B * N, N] all, if they fit."""
    batch, count = unit.shape[:2]
    most = max(1, MATRIX // (4 * batch * count))  # so many tokens' rows at a time
    parts = []
    for first in range(0, count, most):
        rows = cosines(unit) if most >= count else _products(unit[:, first : first + most], unit)  # [B, M, N]
        rows.diagonal(first, 1, 2).fill_(-inf)
        parts.append((rows if among is None else rows.masked_fill(~among[:, None], -inf)).amax(2))
    return torch.cat(parts, 1), rows.flatten(0, 1) if most >= count else None


def blocks(unit: Tensor, limit: int) -> Callable[[], Iterator[tuple[slice, Tensor]]]:
    """All cosines as often as one likes, so many tokens' rows at a time: yields (tokens, [B, M, N] cosines to all).

    Args:
        unit: [B, N, C] float32, vectors of norm one or zero.
        limit: bytes of a block; if all fits into one it is computed once.
    """
    batch, count = unit.shape[:2]
    most = max(1, limit // max(1, 4 * batch * count))
    whole = cosines(unit) if most >= count else None

    def parts() -> Iterator[tuple[slice, Tensor]]:
        for first in range(0, count, most):
            part = slice(first, min(first + most, count))
            yield part, _products(unit[:, part], unit) if whole is None else whole

    return parts


class Similarity:
    """Cosines of some tokens to all others: rows of one product of all pairs where that fits, else computed on demand.

    Args:
        unit: [B, N, C] float32, vectors of norm one or zero.
    """

    def __init__(self, unit: Tensor) -> None:
        self._unit, self._first = unit, base(unit)
        whole = 4 * unit.shape[1] ** 2 <= MATRIX
        self._matrix = cosines(unit).flatten(0, 1) if whole else None  # [B * N, N]

    def to(self, pick: Tensor) -> Tensor:
        """[B, N] cosine of every token to the one at ``pick`` [B, 1]."""
        if self._matrix is None:
            return _products(gather(self._unit, pick), self._unit)[:, 0]
        return self._matrix.index_select(0, (pick + self._first)[:, 0])

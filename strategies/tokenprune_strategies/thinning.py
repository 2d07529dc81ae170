"""The loop that thins near-duplicates out of lists of tokens; batched, and how often it turns is known on the host."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import torch
from torch import Tensor

from tokenprune_strategies.similarity import base, cosines, gather

_SHRINK = 0.6  # a matrix is cut to the tokens that are left when they are this share of its width
_CLASSES = 16  # a power of two, see `Thinning._nearest`


def lengths(start: int, end: int, step: int) -> list[int]:
    """How long a list is before each round and after the last; a round drops at most the even places."""
    found = [start]
    while found[-1] > end:
        found.append(max(end, found[-1] - step, found[-1] // 2))
    return found


class Thinning:
    """Drop near-duplicates from a list of tokens, round by round (VisPruner, ICCV 2025, arXiv 2412.01818).

    A round compares the tokens at even places of the list with those at odd places and drops the ones most similar to
    any of them. The list becomes what is left at even places, by falling similarity, then the odd places as they were.

    Args:
        unit: [B, R, C] float32 in the order of the list, vectors of norm one or zero.
    """

    def __init__(self, unit: Tensor) -> None:
        self._place = torch.arange(unit.shape[1], device=unit.device).expand(len(unit), -1)  # [B, W] places in ``unit``
        self._number(cosines(unit))

    def _number(self, similarity: Tensor) -> None:
        """Take a matrix [B, W, W] whose tokens stand in the order of the list."""
        self._similarity, self._base = similarity, base(similarity)
        self._list = torch.arange(similarity.shape[1], device=similarity.device) + self._base  # [B, R]
        self._left = 0  # even places that the last round left
        self._maxima = similarity[:, :1]  # [B, K, W], see `_nearest`; to be read anew

    def run(self, start: list[int], end: list[int], step: int) -> Tensor:
        """Drop ``step`` tokens a round until ``end`` are left.

        Args:
            start: how many tokens the list of each row has; what follows is padding.
            end: how many are left, at least one unless ``start`` is zero.
            step: tokens dropped in a round.

        Returns:
            [B, max(end)] places in ``unit``, in the order of the last list; in row b the first ``end[b]`` count.
        """
        pairs = list(zip(start, end, strict=True))
        plans = {pair: lengths(*pair, step) for pair in set(pairs)}
        if len(plans) == 1:
            self._list = self._list[:, : start[0]]
            for now, then in pairwise(plans[pairs[0]]):
                self._round(now - then)
        else:
            self._run_ragged([plans[pair] for pair in pairs])
        return self._place.gather(1, self._list - self._base)

    def _shrink(self) -> None:
        """Cut the matrix to the list when that is worth the copy, so that what a round reads falls with it."""
        if self._list.shape[1] <= _SHRINK * self._similarity.shape[1]:
            local = self._list - self._base  # [B, R]
            self._place = self._place.gather(1, local)
            rows = gather(self._similarity, local)  # [B, R, W]
            self._number(rows.gather(2, local[:, None].expand(-1, local.shape[1], -1)))

    def _round(self, drop: int) -> None:
        """A round in which all rows drop alike."""
        if self._maxima.shape[1] == 1:
            self._shrink()
        even, odd = self._list[:, ::2], self._list[:, 1::2]  # [B, R / 2]
        falling = self._nearest(odd).take(even).argsort(dim=1, descending=True, stable=True)[:, drop:]
        self._list = torch.cat([even.gather(1, falling), odd], 1)
        self._left = falling.shape[1]

    def _nearest(self, odd: Tensor) -> Tensor:
        """[B, W] similarity of every token to the nearest at ``odd`` [B, M] places.

        Tokens at odd places keep their order, and every other one stands at an odd place in the next round too. So the
        maximum is kept in K classes, over every K-th of them: half of the classes is what the next round needs, and
        only the tokens that are new at odd places have to be read, until one class is left.
        """
        new, classes = self._left // 2, self._maxima.shape[1] // 2
        if 0 < classes <= new:
            old = self._maxima[:, 1 - self._left % 2 :: 2].roll(new, 1)
            self._maxima = torch.maximum(old, self._read(odd[:, :new], classes))
        else:
            self._maxima = self._read(odd, _CLASSES if odd.shape[1] >= 8 * _CLASSES else 1)
        return self._maxima.amax(1)

    def _read(self, tokens: Tensor, classes: int) -> Tensor:
        """[B, K, W] similarity of every token to the nearest of every K-th of ``tokens`` [B, M]."""
        rest = -tokens.shape[1] % classes
        if rest:  # say some tokens twice, each in its own class
            whole = tokens.shape[1] - classes
            tokens = torch.cat([tokens, tokens[:, whole : whole + rest]], 1)
        rows = self._similarity.flatten(0, 1).index_select(0, tokens.flatten())  # [B * M, W]
        return rows.view(len(tokens), -1, classes, rows.shape[1]).amax(1)

    def _run_ragged(self, plans: list[list[int]]) -> None:
        """Rounds in which rows drop differently; a row that is done drops nothing, which changes its order only."""
        rounds = max(map(len, plans))
        table = torch.tensor([plan + plan[-1:] * (rounds - len(plan)) for plan in plans]).T[..., None]
        widest = table.amax((1, 2)).tolist()
        table = table.to(self._list.device, non_blocking=True)  # [rounds, B, 1]
        self._list = self._list[:, : widest[0]]
        for nth in range(rounds - 1):
            self._shrink()
            self._round_ragged(table[nth], table[nth + 1], widest[nth + 1])

    def _round_ragged(self, now: Tensor, then: Tensor, width: int) -> None:
        """A round that takes each row from ``now`` [B, 1] tokens to ``then``; the list is cut to ``width``."""
        even, odd = self._list[:, ::2], self._list[:, 1::2]  # [B, R / 2]
        rank = torch.arange(even.shape[1], device=even.device)
        at_even, at_odd = rank < (now + 1) // 2, rank[: odd.shape[1]] < now // 2  # [B, R / 2]
        partners = torch.where(at_odd, odd, odd[:, :1])  # in place of padding, one of the row's own once more
        nearest = self._read(partners, 1)[:, 0].take(even).masked_fill(~at_even, -inf)
        even = even.gather(1, nearest.argsort(dim=1, descending=True, stable=True))
        stays = torch.cat([at_even & (rank >= now - then), at_odd], 1)  # [B, R]
        order = stays.byte().argsort(dim=1, descending=True, stable=True)[:, :width]
        self._list = torch.cat([even, odd], 1).gather(1, order)

"""Rows between markers of their own, such as frames: none is empty while the budget holds a token for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tokenprune.selection import Selection
from tokenprune.tokens import VisualTokens, top


def filled(
    tokens: VisualTokens,
    selection: Selection,
    units: list[list[int]],
    score: Callable[[VisualTokens], Tensor],
) -> Selection:
    """The selection with a token in every marked row of each unit that keeps enough for that; every total stays.

    An empty marked row gets its best token by score, as an important one. For that the row of the same unit that keeps
    most gives up its worst one by score, whichever way it was chosen; no marked row gives up its last. Ties of tokens
    favour the lower index, ties of rows take from the lower row.

    A unit that keeps fewer tokens than it has marked rows is left as its splitter divided it: ``equal`` then gives
    frames that are evenly spread a token each, ``global_pool`` leaves them where they were chosen.

    This comes before anything is folded: carriers are chosen after it, and neither counted nor moved.

    Reads the counts back from the device once, if any row is marked.

    Args:
        tokens: B rows of N tokens.
        selection: what was chosen of them.
        units: the rows of each unit of the budget.
        score: as `Scorer.score`; called only if a row has to be filled.
    """
    if tokens.marked is None or not bool(tokens.marked.any()):
        return selection
    needs = (tokens.marked & (tokens.counts > 0)).tolist()
    before: list[int] = selection.counts.tolist()
    after = list(before)
    for rows in units:
        _even_out(rows, needs, after)
    if after == before:
        return selection
    empty = (torch.tensor(before) == 0).to(tokens.device)[:, None]  # [B, 1]
    valid = torch.ones_like(selection.mask) if tokens.valid is None else tokens.valid
    stay = top(score(tokens), torch.tensor(after), torch.where(empty, valid, selection.mask))
    return replace(selection, important=stay & (selection.important | empty), diverse=stay & selection.diverse)


def _even_out(rows: list[int], needs: list[bool], kept: list[int]) -> None:
    """Move counts within one unit, in place, from the rows that keep most to those that need one and have none."""
    if sum(kept[row] for row in rows) < sum(needs[row] for row in rows):
        return
    for row in rows:
        if needs[row] and not kept[row]:
            giver = max((one for one in rows if kept[one] > needs[one]), key=lambda one: kept[one])
            kept[giver] -= 1
            kept[row] += 1

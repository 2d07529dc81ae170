"""What a receipt is filled with: read back from the device once a call."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tokenprune.budget import Budget
from tokenprune.receipt import ImageReceipt
from tokenprune.selection import Selection
from tokenprune.spots import spots_of
from tokenprune.tokens import VisualTokens


def uncut_units(tokens: VisualTokens, selection: Selection, budget: Budget) -> int:
    """How many units of the budget stayed whole though it is smaller."""
    counts, kept = tokens.counts.tolist(), selection.counts.tolist()
    totals = [
        (sum(counts[row] for row in rows), sum(kept[row] for row in rows), most) for rows, most in budget.units(tokens)
    ]
    return sum(most < after == before for before, after, most in totals)


def images_of(
    tokens: VisualTokens, selection: Selection, kinds: Mapping[int, str], patch: tuple[int, int] | None = None
) -> list[ImageReceipt]:
    """One entry for each group of rows, in order; reads the selection back from the device.

    Args:
        tokens: all rows.
        selection: what was chosen of them.
        kinds: ``image`` or ``video``, by group.
        patch: as in `Spots`.
    """
    masks = [mask.cpu() for mask in (selection.important, selection.diverse, selection.merged)]
    valid = torch.ones(tokens.shape, dtype=torch.bool) if tokens.valid is None else tokens.valid.cpu()
    grid = tokens.grid
    found = []
    for group in sorted(set(tokens.group.tolist())):
        rows = tokens.group == group
        there = valid[rows].flatten()
        important, diverse, merged = (mask[rows].flatten()[there] for mask in masks)
        kept = important | diverse | merged
        found.append(
            ImageReceipt(
                sample=int(tokens.sample[rows][0]),
                before=int(there.sum()),
                after=int(kept.sum()),
                kept=kept.nonzero()[:, 0],
                important=important.nonzero()[:, 0],
                diverse=diverse.nonzero()[:, 0],
                merged=merged.nonzero()[:, 0],
                rows=tuple(selection.mask.cpu()[rows].sum(-1).tolist()),
                grid=grid if int(rows.sum()) == 1 else None,
                kind=kinds[group],
                spots=spots_of(tokens, rows, patch),
            )
        )
    return found

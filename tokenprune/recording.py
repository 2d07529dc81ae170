"""What a receipt is filled with: read back from the device once a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import torch

from tokenprune.budget import Budget
from tokenprune.in_llm import InLlm
from tokenprune.kv_cache import bytes_of
from tokenprune.pipeline import Pipeline
from tokenprune.reading import Reading
from tokenprune.receipt import ImageReceipt, LayerReceipt, Receipt
from tokenprune.selection import Selection
from tokenprune.spots import spots_of
from tokenprune.tokens import VisualTokens
from tokenprune.turn import Turn


def uncut(pipeline: Pipeline, receipt: Receipt) -> str:
    """What to say of a receipt whose budget was not kept to; nothing where it was."""
    if not receipt.uncut:
        return ""
    return (
        f"every token of {receipt.uncut} {pipeline.kept.unit}{'s' * (receipt.uncut != 1)} stayed though the budget "
        f"is {receipt.budget}; the splitter {type(pipeline.stages[0].splitter).__name__} does not keep to it"
    )


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


def with_layers(receipt: Receipt, reading: Reading | None, turn: Turn, inside: InLlm) -> Receipt:
    """The record of a call after the language model has read its prompt; one sequence of each prompt.

    Args:
        receipt: what entered.
        reading: what the stages inside the language model left. None: everything.
        turn: what the cache has to remember of it.
        inside: the stages.
    """
    depth = inside.plan.depth
    if reading is None:
        return replace(receipt, depth=depth)
    step, layers, source = reading.times, [], list(receipt.source)
    for left, level in zip(reading.left, reading.levels, strict=True):
        numbers, masks = left.spans.number[::step].cpu(), left.selection.mask[::step].cpu()
        kept = [row[mask].sort().values for row, mask in zip(numbers, masks, strict=True)]
        there = torch.zeros_like(turn.mask, dtype=torch.bool)
        there.scatter_(1, level.columns[::step], level.filled[::step])
        rows = zip(receipt.slots, turn.mask.bool().cpu(), there.cpu(), strict=True)
        slots = [every[stays[real]] for every, real, stays in rows]
        layers.append(LayerReceipt(level.layer, kept, slots, left.rows.source.shape[1]))
        source += [f"{name} (layer {level.layer})" for name in left.read]
    bounds = [*(one.layer for one in layers), depth]
    gone = [
        (turn.mask.shape[1] - one.columns) * (end - start)
        for one, (start, end) in zip(layers, pairwise(bounds), strict=True)
    ]
    more = bytes_of(inside.language, len(turn.mask) * sum(gone), 1)
    saved = None if more is None or receipt.kv_bytes_saved is None else receipt.kv_bytes_saved + more
    said = tuple(dict.fromkeys(source))
    return replace(receipt, layers=tuple(layers), depth=depth, source=said, kv_bytes_saved=saved)

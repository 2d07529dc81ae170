"""Shorter inputs before the language model: encode once, choose, and drop the same slots from every per-token tensor.

Feature row i of the encoder's output fills the i-th placeholder over (batch, slot). So a prompt without some
placeholders, together with features without the same rows, is just a shorter prompt: caches, masks, beams and chunked
prefill need nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tokenprune.chunk import Chunk, cached, has_text_row, pad_id
from tokenprune.entry import budgets_of, depth_of, enter, reading_of
from tokenprune.errors import UnsupportedMode
from tokenprune.family import Family, Model, submodule
from tokenprune.in_llm import InLlm
from tokenprune.kv_cache import bytes_of
from tokenprune.modality import Visuals, see
from tokenprune.pipeline import Pipeline
from tokenprune.prompt import Columns, Positions, shifts
from tokenprune.reading import Reading
from tokenprune.receipt import Receipt
from tokenprune.recording import images_of, uncut_units, with_layers
from tokenprune.selection import Selection
from tokenprune.spots import patch_of
from tokenprune.turn import Turn, forget

_IGNORED = -100  # what cross entropy skips


@dataclass(frozen=True)
class Short:
    """A shortened call.

    Args:
        call: keyword arguments of the chunk, with ``mm_encoder_outputs`` in the model's own container.
        columns: where the chunk's columns went.
        turn: what the cache has to remember.
        receipt: what was kept.
        reading: what the stages inside the language model have to know. None: they have nothing to do.
    """

    call: dict[str, Any]
    columns: Columns
    turn: Turn
    receipt: Receipt
    reading: Reading | None = None


def shorten(family: Family, model: Model, pipeline: Pipeline, call: Mapping[str, Any], chunk: Chunk) -> Short:
    """Encode the images and videos of ``call`` and drop the tokens that the pipeline does not choose.

    Args:
        family: the model's family.
        model: the model.
        pipeline: what chooses.
        call: keyword arguments of ``generate`` or ``forward``.
        chunk: the columns they add.

    Raises:
        UnsupportedMode: it brings encoded images too, or nothing is left of a prompt; or as in `see`.
        AttachError: features and placeholders do not fit.
    """
    if call.get("mm_encoder_outputs"):
        raise UnsupportedMode("a call brings pixels or mm_encoder_outputs, not both; leave one of them out")
    if not cached(call):
        forget(call.get("past_key_values"))
    clock: dict[str, float] = {}
    with timed(clock, "encode"):
        visuals = see(family, model, call, pipeline, chunk.ids, chunk.mask)
    with timed(clock, "select"), torch.no_grad():
        budgets = budgets_of(pipeline, visuals.tokens, depth_of(family, model) if pipeline.inside else 0)
        selection = enter(pipeline, visuals.tokens, budgets)
    with timed(clock, "cut"):
        stays, separators = _stays(visuals, selection, pipeline)
        columns = Columns.of(stays, chunk.mask.bool())
        _refuse_empty(columns, chunk)
        several = chunk.positions.ndim == 3  # ids along several axes are places, which leave no gaps to close
        policy: Positions = "keep" if several else pipeline.positions or family.positions
        text_row = has_text_row(model, chunk.positions)
        short, turn = _cut(policy, text_row, family.per_token, call, chunk, columns, stays)
        short["input_ids"] = columns.gather(chunk.ids, pad_id(model))
        if not family.takes_positions and call.get("position_ids") is None:
            del short["position_ids"]
        short["mm_encoder_outputs"] = visuals.outputs(selection, columns.stays)  # without what the mask hides
        entry = (pipeline, model, visuals, selection, chunk, columns, budgets)
        reading = reading_of(*entry, renumber=policy == "renumber" and not several)
    receipt = receipt_of(policy, model, pipeline, visuals, selection, turn, separators, clock)
    gone = chunk.ids.numel() - columns.source.numel()
    receipt = replace(receipt, kv_bytes_saved=bytes_of(submodule(model.base_model, family.language_model), gone))
    return Short(short, columns, turn, receipt, reading)


def recorded(short: Short, inside: InLlm | None) -> Receipt:
    """The record once the model has read the prompt."""
    return short.receipt if inside is None else with_layers(short.receipt, short.reading, short.turn, inside)


def _refuse_empty(columns: Columns, chunk: Chunk) -> None:
    empty = chunk.mask.bool().any(-1) & ~columns.stays.any(-1)
    if bool(empty.any()):
        raise UnsupportedMode(
            f"nothing is left of prompt {', '.join(map(str, empty.nonzero()[:, 0].tolist()))}: it is images alone and "
            "the budget keeps none of them; add text, or keep a token"
        )


@contextmanager
def timed(clock: dict[str, float], name: str) -> Iterator[None]:
    """Note the milliseconds of a block under a name."""
    start = time.perf_counter()
    yield
    clock[name] = 1e3 * (time.perf_counter() - start)


def _stays(visuals: Visuals, selection: Selection, pipeline: Pipeline) -> tuple[Tensor, int]:
    """[B, T] bool: which columns stay, and how many of them are separators."""
    stays, separators = torch.ones_like(visuals.parts[0].placeholder), 0
    for part in visuals.parts:
        rows = part.rows(selection, pipeline.separators)
        stays.masked_scatter_(part.placeholder, rows.to(stays.device))
        separators += int((rows & (part.encoded.index < 0)).sum())
    return stays, separators


def _cut(
    policy: Positions,
    text_row: bool,
    per_token: tuple[str, ...],
    call: Mapping[str, Any],
    chunk: Chunk,
    columns: Columns,
    stays: Tensor,
) -> tuple[dict[str, Any], Turn]:
    """Every per-token tensor of the call without the dropped columns, and what the cache has to remember of it."""
    dropped = ~stays & chunk.mask.bool()
    short: dict[str, Any] = {
        name: columns.gather(call[name][..., -chunk.ids.shape[1] :], 0)
        for name in per_token
        if isinstance(call.get(name), Tensor)
    }
    if isinstance(call.get("labels"), Tensor):
        short["labels"] = columns.gather(call["labels"], _IGNORED)
    shift = shifts(chunk.positions, dropped, policy, text_row)
    short["position_ids"] = columns.positions(chunk.positions, shift)
    mask = columns.gather(chunk.mask, 0)
    if chunk.prefix is not None:
        mask = torch.cat([chunk.prefix.to(mask.dtype), mask], 1)
    short["attention_mask"] = mask
    following = chunk.positions[..., -1] + 1 - shift[..., -1]
    before = 0 if chunk.shift is None else chunk.shift
    real = stays & chunk.mask.bool()
    everything = real if chunk.stays is None else torch.cat([chunk.stays, real], 1)
    return short, Turn(everything, mask, following, before + shift[..., -1])


def receipt_of(
    positions: Positions,
    model: Model,
    pipeline: Pipeline,
    visuals: Visuals,
    selection: Selection,
    turn: Turn,
    separators: int,
    clock: Mapping[str, float],
) -> Receipt:
    """The record of one call, of whose rows so many stay that are ``separators``."""
    tokens, budget = visuals.tokens, pipeline.kept
    inside = "" if not pipeline.inside else ", averaged over layers" if pipeline.budget else " after the first stage"
    unit = " per image" + " or video" * ("video" in visuals.kinds.values())
    return Receipt(
        pipeline=pipeline.name,
        model=type(model).__name__,
        slots=[row.nonzero()[:, 0] for row in turn.stays.cpu()],
        length=turn.stays.shape[1],
        images=images_of(tokens, selection, visuals.kinds, patch_of(model.config)),
        budget=f"{budget}" + (unit if budget.unit == "image" else "") + inside,
        asked=sum(most for _, most in budget.units(tokens)),
        uncut=0 if inside else uncut_units(tokens, selection, budget),
        source=visuals.sources,
        space=pipeline.stages[0].space,
        positions=positions,
        separators=separators,
        milliseconds=dict(clock),
    )
